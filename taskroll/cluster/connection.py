"""One API server, as the rest of taskroll holds it."""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace
from types import TracebackType
from typing import Any, Self, cast

from .errors import ClusterError, is_for_want_of_rights, refusal, starting, unreachable
from .kubeconfig import ClusterSettings, open_transport
from .transport import Call, JsonObject, Reply, Transport

_READY = Call("read", "/readyz", "readiness")


class Cluster:
    """A connection to one API server. Belongs to one event loop; close it, or use it as an async context manager.

    Args:
        transport: Carries the calls.
        request_timeout: Seconds for one call.
        server: The server's address, for messages.
    """

    def __init__(self, transport: Transport, *, request_timeout: float = 15.0, server: str = "") -> None:
        self.transport = transport
        self.request_timeout = request_timeout
        self.server = server

    @classmethod
    async def connect(cls, settings: ClusterSettings | None = None) -> Self:
        """Load the credentials. Sends nothing yet: see `check_reachable`.

        Raises:
            NotConfigured: where nothing says which cluster is meant.
        """
        settings = settings or ClusterSettings()
        transport, server = await open_transport(settings)
        return cls(transport, request_timeout=settings.request_timeout, server=server)

    async def close(self) -> None:
        """Close the connections."""
        await self.transport.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def check_reachable(self) -> str:
        """Ask the server for its version, and return it, such as ``v1.36.3``.

        Raises:
            ClusterError: `Unavailable` where it cannot be reached.
        """
        return str((await self.send(Call("read", "/version", "version"))).get("gitVersion", ""))

    async def send(self, call: Call) -> JsonObject:
        """Send one call and return the object in the answer.

        A write that has started is not cancelled half-way: the caller's cancellation is raised when its answer is
        there. Else a compensation could look at the object before that write arrives, and find nothing to take back.

        Raises:
            ClusterError: one of its kinds, see `taskroll.cluster.errors`.
        """
        if not call.is_write:
            return await self._send(call)
        sending = asyncio.create_task(self._send(call))
        try:
            return await asyncio.shield(sending)
        except asyncio.CancelledError:
            while not sending.done():
                try:
                    await asyncio.wait([sending])
                except asyncio.CancelledError:
                    continue
            if not sending.cancelled():
                sending.exception()
            raise

    async def _send(self, call: Call) -> JsonObject:
        from aiohttp import ClientError

        try:
            reply = await self.transport.send(self._bounded(call), self.request_timeout)
            if reply.status == 403 and is_for_want_of_rights(reply):
                reply = await self._asked_again(call, reply)
        except (ClientError, TimeoutError, OSError) as error:
            raise unreachable(call, error) from error
        if not 200 <= reply.status <= 299:
            raise refusal(call, reply)
        return _json_object(call, reply)

    async def _asked_again(self, call: Call, refused: Reply) -> Reply:
        """What a server says once it has read its roles and bindings. Until then, for some seconds after its start, it
        takes calls and refuses all of them.

        Raises:
            ClusterError: `Unavailable` where it has not.
        """
        ready = await self.transport.send(_READY, self.request_timeout)
        if ready.status != 200:
            raise starting(call, refused, ready)
        # What was refused was not carried out.
        return await self.transport.send(self._bounded(call), self.request_timeout)

    def _bounded(self, call: Call) -> Call:
        """Let the server give up a write before we do, so that it is not carried out after we have stopped waiting."""
        if not call.is_write:
            return call
        seconds = max(1, int(self.request_timeout) - 1)
        return replace(call, query={**call.query, "timeout": f"{seconds}s"})


def _json_object(call: Call, reply: Reply) -> JsonObject:
    try:
        parsed: Any = json.loads(reply.body)
    except ValueError as error:
        raise ClusterError(call, f"the answer is no JSON: {error}", status=reply.status) from error
    return cast(JsonObject, parsed) if isinstance(parsed, dict) else {}
