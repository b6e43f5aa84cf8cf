"""The supervisor's Unix socket: stop, kill or start one component of a running stack."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path

from taskroll.devstack.errors import DevStackError, StackNotRunning
from taskroll.devstack.info import StackInfo
from taskroll.devstack.protocol import ControlReply, ControlRequest


@asynccontextmanager
async def serve_control(
    path: Path, handle: Callable[[ControlRequest], Awaitable[ControlReply]]
) -> AsyncGenerator[None]:
    """Serve requests on the socket, one after the other. The working directory must be the socket's folder."""
    one_at_a_time = asyncio.Lock()

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(ConnectionError):
            request = ControlRequest.model_validate_json(await reader.readline())
            async with one_at_a_time:
                reply = await handle(request)
            writer.write(reply.model_dump_json().encode() + b"\n")
            await writer.drain()
        writer.close()

    path.unlink(missing_ok=True)  # noqa: ASYNC240 - at the start, when nothing else runs
    server = await asyncio.start_unix_server(answer, path=path.name)
    try:
        yield
    finally:
        server.close()
        path.unlink(missing_ok=True)  # noqa: ASYNC240 - and at the end


def send_control(path: Path, request: ControlRequest, timeout: float) -> StackInfo:
    """Have a request carried out and return the new state.

    Raises StackNotRunning if nobody listens, DevStackError with the supervisor's words if it could not do it.
    """
    try:
        folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    except FileNotFoundError:
        raise StackNotRunning(f"no stack at {path.parent}") from None
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
            connection.settimeout(timeout)
            # By way of the descriptor: the plain path may be longer than a socket address can hold.
            connection.connect(f"/proc/self/fd/{folder}/{path.name}")
            connection.sendall(request.model_dump_json().encode() + b"\n")
            answer = connection.makefile("rb").readline()
    except (FileNotFoundError, ConnectionRefusedError):
        raise StackNotRunning(f"no stack runs on {path.parent}") from None
    except OSError as error:
        raise DevStackError(f"the supervisor of {path.parent} did not answer: {error}") from error
    finally:
        os.close(folder)
    reply = ControlReply.model_validate_json(answer or b'{"error": "the supervisor ended"}')
    if reply.info is None:
        raise DevStackError(reply.error or "no answer")
    return reply.info
