"""HTTP calls of a service: each holds a lease; where calls enter the platform, the gate admits it as well."""

from typing import Final, Protocol

from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from taskroll_agent.errors import CallCancelled
from taskroll_agent.gate import Gate
from taskroll_agent.registry import Registry

from .apps import Apps

INVOKE: Final = "/app/invoke/"

NOT_GATED: Final = ("/deploy-tasks", "/purge-tasklib")
"""They write custom resources and use no task."""


class Process(Protocol):
    """What calls need to know of the process that they come to."""

    registry: Registry
    apps: Apps

    @property
    def gate(self) -> Gate | None:
        """None until the agent runs."""
        ...


class CallMiddleware:
    """ASGI middleware: a call begins with the release that runs when it is let in, and ends with it.

    A streamed answer is part of its call. An app's call says which classes it may use; other calls may use any.
    """

    def __init__(self, app: ASGIApp, process: Process, *, gated: bool) -> None:
        self.app = app
        self._process = process
        self._gated = gated

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        gate = self._process.gate if self._gated else None
        if gate is None or scope["method"] not in ("POST", "DELETE") or scope["path"] in NOT_GATED:
            with self._process.registry.lease():
                await self.app(scope, receive, send)
            return
        started = False

        async def watched(message: Message) -> None:
            nonlocal started
            started = True
            await send(message)

        try:
            async with gate.call(self._classes(scope["path"])):
                with self._process.registry.lease():
                    await self.app(scope, receive, watched)
        except CallCancelled as error:
            if started:
                raise
            answer = JSONResponse({"error": str(error)}, status_code=503, headers={"Retry-After": "1"})
            await answer(scope, receive, send)

    def _classes(self, path: str) -> frozenset[str]:
        if not path.startswith(INVOKE):
            return frozenset()
        return self._process.apps.class_names(path.removeprefix(INVOKE))
