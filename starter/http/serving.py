"""Running the app in a process of its own."""

import asyncio
import copy
import signal
import sys
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import uvicorn
from uvicorn.config import LOGGING_CONFIG

from starter.settings import Settings
from taskroll.models.errors import InvalidRequest

from .app import create_app
from .tokens import FILE_VARIABLE, TOKENS_VARIABLE, LoopbackOnly, is_loopback, read_authentication

GRACE = 10
"""Seconds that requests get to end after SIGTERM or Ctrl-C."""


async def serve_until_stopped(settings: Settings, host: str, port: int, token_file: Path | None = None) -> None:
    """Serve until SIGTERM or Ctrl-C.

    Raises:
        InvalidRequest: an address that others reach and no token; a token file that is wrong; a port that is taken.
    """
    authentication = read_authentication(token_file)
    if isinstance(authentication, LoopbackOnly) and not is_loopback(host):
        raise InvalidRequest(
            f"host {host!r} can be reached by others, and no bearer token is set up: set {TOKENS_VARIABLE} or "
            f"{FILE_VARIABLE}, give --token-file, or listen on 127.0.0.1"
        )
    config = uvicorn.Config(
        create_app(settings, authentication),
        host=host,
        port=port,
        log_config=_log_config(),
        timeout_graceful_shutdown=GRACE,
        # Behind a proxy, the connection's own addresses count: see LoopbackOnly.
        proxy_headers=False,
        server_header=False,
    )
    server = _Server(config)
    # Before the address is announced: from then on somebody may stop it.
    with server.stopped_by_signals():
        try:
            listener = config.bind_socket()
        except SystemExit as error:
            taken = f"cannot listen on {host}:{port}: is the port taken? Choose another: --port"
            raise InvalidRequest(taken) from error
        try:
            await server.serve(sockets=[listener])
        finally:
            listener.close()


class _Server(uvicorn.Server):
    """Ends by SIGTERM or Ctrl-C as asked for, with exit code 0: uvicorn would let the signal kill the process."""

    @contextmanager
    def capture_signals(self) -> Generator[None]:
        yield

    @contextmanager
    def stopped_by_signals(self) -> Generator[None]:
        loop = asyncio.get_running_loop()
        stopping = (signal.SIGTERM, signal.SIGINT)
        for number in stopping:
            loop.add_signal_handler(number, self.handle_exit, number, None)
        try:
            yield
        finally:
            for number in stopping:
                loop.remove_signal_handler(number)


def _log_config() -> dict[str, Any]:
    """Uvicorn's own, but all of it to stderr."""
    config = copy.deepcopy(LOGGING_CONFIG)
    config["handlers"]["access"]["stream"] = "ext://sys.stderr"
    config["formatters"]["access"]["use_colors"] = config["formatters"]["default"]["use_colors"] = sys.stderr.isatty()
    return config
