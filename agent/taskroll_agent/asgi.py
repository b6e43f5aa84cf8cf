"""The agent's HTTP endpoints as a Starlette app, to mount at `API_PREFIX` in any ASGI app."""

import logging
from collections.abc import Callable, Iterable
from typing import Any, Final, TypeVar

from pydantic import BaseModel, ValidationError
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Mount, Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from .agent import Agent
from .contracts import (
    API_PREFIX,
    AbortRequest,
    ActivateRequest,
    HoldRequest,
    PrepareRequest,
    Refusal,
    ReleaseRequest,
)
from .errors import CallCancelled, ClusterError, Refused
from .gate import Gate
from .registry import Registry
from .tokens import Tokens

_log = logging.getLogger(__name__)

MAX_BODY: Final = 1024 * 1024
"""Bytes. A prepare request that changes 1,000 definitions is under 200 KB; bodies hold digests, never sources."""

MAX_NONCE: Final = 256

C = TypeVar("C", bound=BaseModel)


def agent_app(agent: Agent) -> Starlette:
    """The endpoints, relative: ``app.mount(API_PREFIX, agent_app(agent))``. The agent is started by the caller.

    Raises:
        SettingsError: where no token is set and the agent is not explicitly insecure.
    """
    calls = _Calls(agent)
    return Starlette(
        routes=[
            Route("/prepare", calls.prepare, methods=["POST"]),
            Route("/hold", calls.hold, methods=["POST"]),
            Route("/release", calls.release, methods=["POST"]),
            Route("/activate", calls.activate, methods=["POST"]),
            Route("/abort", calls.abort, methods=["POST"]),
            Route("/attestation", calls.attestation, methods=["GET"]),
            Route("/census", calls.census, methods=["GET"]),
            Route("/healthz", calls.healthz, methods=["GET"]),
        ],
        middleware=[Middleware(_RequireToken, tokens=Tokens(agent.settings))],
        exception_handlers={
            Refused: calls.refused,
            ClusterError: _unavailable,
            ValidationError: _unprocessable,
            ValueError: _unprocessable,
            _BodyTooLarge: _too_large,
        },
    )


def standalone_app(agent: Agent) -> Starlette:
    """An app with nothing but the endpoints, at their full paths, that starts and stops the agent with its lifespan."""
    return Starlette(routes=[Mount(API_PREFIX, agent_app(agent))], lifespan=agent.lifespan)


class LeaseMiddleware:
    """Each HTTP request and each WebSocket holds a lease, from its first byte to the last one of the answer.

    The agent's own endpoints hold none: they are what flips.
    """

    def __init__(self, app: ASGIApp, registry: Registry) -> None:
        self.app = app
        self.registry = registry

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in ("http", "websocket") or _is_agents(scope):
            await self.app(scope, receive, send)
            return
        with self.registry.lease():
            await self.app(scope, receive, send)


class GateMiddleware:
    """Each HTTP request is a call at the gate, to the last byte of its answer; add it outside of `LeaseMiddleware`.

    `classes` says which task classes a request may use, by its ASGI scope: none means any, and None that it is not
    gated, such as a health probe or a stream without an end. The agent's own endpoints never are: they end the hold.
    WebSockets are not either, since they last; there each message is a call (`Gate.call`).

    A request that an update cancels is answered 503, where its answer has not begun.
    """

    def __init__(
        self, app: ASGIApp, gate: Gate, classes: Callable[[Scope], Iterable[str] | None] = lambda _: ()
    ) -> None:
        self.app = app
        self.gate = gate
        self.classes = classes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        classes = None if scope["type"] != "http" or _is_agents(scope) else self.classes(scope)
        if classes is None:
            await self.app(scope, receive, send)
            return
        begun = False

        async def noted(message: Message) -> None:
            nonlocal begun
            begun = True
            await send(message)

        try:
            async with self.gate.call(classes):
                await self.app(scope, receive, noted)
        except CallCancelled as error:
            if begun:
                raise
            await _unavailable_answer(error)(scope, receive, send)


def _is_agents(scope: Scope) -> bool:
    path: str = scope["path"]
    return path.removeprefix(scope.get("root_path", "")).startswith(f"{API_PREFIX}/")


class _Calls:
    def __init__(self, agent: Agent) -> None:
        self._agent = agent

    async def prepare(self, request: Request) -> Response:
        return _json(await self._agent.prepare(await _body(request, PrepareRequest)))

    async def hold(self, request: Request) -> Response:
        return _json(await self._agent.hold(await _body(request, HoldRequest)))

    async def release(self, request: Request) -> Response:
        return _json(await self._agent.release(await _body(request, ReleaseRequest)))

    async def activate(self, request: Request) -> Response:
        return _json(await self._agent.activate(await _body(request, ActivateRequest)))

    async def abort(self, request: Request) -> Response:
        return _json(await self._agent.abort(await _body(request, AbortRequest)))

    async def attestation(self, request: Request) -> Response:
        nonce = request.query_params.get("nonce")
        if nonce is not None and len(nonce) > MAX_NONCE:
            raise ValueError(f"nonce: at most {MAX_NONCE} characters")
        return _json(self._agent.attest(nonce, full=request.query_params.get("detail") == "full"))

    async def census(self, request: Request) -> Response:
        return _json(await self._agent.census(collect=request.query_params.get("collect") == "true"))

    async def healthz(self, _request: Request) -> Response:
        ready, epoch = self._agent.ready, self._agent.registry.active.epoch
        return JSONResponse({"ready": ready, "epoch": epoch}, status_code=200 if ready else 503)

    async def refused(self, _request: Request, error: Exception) -> Response:
        assert isinstance(error, Refused)
        epoch = self._agent.registry.active.epoch
        return _json(Refusal(reason=error.reason, message=str(error), epoch=epoch), status=409)


class _RequireToken:
    """401 for whoever does not show a token, before the body is read. Only the health probe is open."""

    def __init__(self, app: ASGIApp, tokens: Tokens) -> None:
        self.app = app
        self.tokens = tokens

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and not scope["path"].endswith("/healthz"):
            request = Request(scope)
            if not self.tokens.accepts(request.headers.get("authorization")):
                response = JSONResponse(
                    {"error": "a bearer token is required"}, status_code=401, headers={"WWW-Authenticate": "Bearer"}
                )
                await response(scope, receive, send)
                return
        await self.app(scope, receive, send)


class _BodyTooLarge(Exception):
    pass


async def _body(request: Request, model: type[C]) -> C:
    content = bytearray()
    async for chunk in request.stream():
        content += chunk
        if len(content) > MAX_BODY:
            raise _BodyTooLarge
    return model.model_validate_json(bytes(content))


def _json(model: BaseModel, status: int = 200) -> Response:
    return Response(model.model_dump_json(), status_code=status, media_type="application/json")


async def _unavailable(_request: Request, error: Exception) -> Response:
    return _unavailable_answer(error)


def _unavailable_answer(error: Exception) -> Response:
    return JSONResponse({"error": str(error)}, status_code=503, headers={"Retry-After": "1"})


async def _unprocessable(_request: Request, error: Exception) -> Response:
    if isinstance(error, ValidationError):
        # Without the input: what did not fit the form may be anything, and it is repeated to logs of others.
        detail: Any = error.errors(include_url=False, include_context=False, include_input=False)
    else:
        detail = str(error)
    return JSONResponse({"error": "the request is not of the form", "detail": detail}, status_code=422)


async def _too_large(_request: Request, _error: Exception) -> Response:
    return JSONResponse({"error": f"the body is over {MAX_BODY} bytes"}, status_code=413)
