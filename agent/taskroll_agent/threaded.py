"""An agent in a thread of its own, for services that have no event loop, or no ASGI app to mount the endpoints in."""

import asyncio
import socket
import threading
from concurrent.futures import Future
from typing import Any, Self

from .agent import Agent
from .errors import AgentError


class AgentThread:
    """Runs an agent on its own loop in a daemon thread. The registry is used from any thread as always.

    With `host` and `port` it serves the agent's endpoints as well; that needs uvicorn: ``pip install
    taskroll-agent[server]``.
    """

    def __init__(self, agent: Agent, host: str | None = None, port: int = 0) -> None:
        self.agent = agent
        self._listen = None if host is None else (host, port)
        self._socket: socket.socket | None = None
        self._started: Future[None] = Future()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stop: asyncio.Event | None = None
        self._thread = threading.Thread(target=self._run, name="taskroll-agent", daemon=True)

    @property
    def address(self) -> tuple[str, int]:
        """Where the endpoints listen; with port 0 given, the port that was free.

        Raises:
            AgentError: where none are served.
        """
        if self._socket is None:
            raise AgentError("this agent serves no endpoints: give it a host and a port")
        host, port = self._socket.getsockname()[:2]
        return host, port

    def start(self) -> Self:
        """Start, and return as `Agent.start` does: when the release runs, or after `start_timeout` seconds.

        Raises:
            AgentError: where endpoints are wanted and uvicorn is not installed.
            SettingsError: where endpoints are wanted and no token is set.
            OSError: where the address cannot be listened on.
        """
        app: Any = None
        if self._listen is not None:
            app = self._app()
            host, port = self._listen
            family = socket.AF_INET6 if ":" in host else socket.AF_INET
            self._socket = socket.create_server((host, port), family=family, backlog=2048)
        self._application = app
        self._thread.start()
        self._started.result()
        return self

    def stop(self, timeout: float = 10.0) -> None:
        """Stop the agent and its endpoints; waits up to `timeout` seconds for the thread."""
        if self._loop is not None and self._stop is not None and self._thread.is_alive():
            self._loop.call_soon_threadsafe(self._stop.set)
            self._thread.join(timeout)

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()

    def _app(self) -> Any:
        try:
            import uvicorn  # noqa: F401  # pyright: ignore[reportUnusedImport]
        except ImportError as error:
            raise AgentError("serving the endpoints needs uvicorn: pip install 'taskroll-agent[server]'") from error
        from starlette.applications import Starlette
        from starlette.routing import Mount

        from .asgi import agent_app
        from .contracts import API_PREFIX

        return Starlette(routes=[Mount(API_PREFIX, agent_app(self.agent))])

    def _run(self) -> None:
        try:
            asyncio.run(self._main())
        except BaseException as error:
            if not self._started.done():
                self._started.set_exception(error)
            else:
                raise

    async def _main(self) -> None:
        self._loop, self._stop = asyncio.get_running_loop(), asyncio.Event()
        # The endpoints first: probes and callers get answers while the first release still loads.
        server = self._server()
        serving = None if server is None else asyncio.create_task(server.serve(sockets=[self._socket]))
        try:
            async with self.agent:
                self._started.set_result(None)
                await self._stop.wait()
        finally:
            if server is not None and serving is not None:
                server.should_exit = True
                await serving

    def _server(self) -> Any:
        if self._application is None:
            return None
        import uvicorn

        config = uvicorn.Config(self._application, lifespan="off", log_config=None, access_log=False)
        return uvicorn.Server(config)


def serve_in_thread(agent: Agent, host: str, port: int) -> AgentThread:
    """Start the agent with its endpoints on `host`:`port` in a thread of its own; port 0 picks a free one.

    Raises:
        AgentError, SettingsError, OSError: as `AgentThread.start`.
    """
    return AgentThread(agent, host, port).start()
