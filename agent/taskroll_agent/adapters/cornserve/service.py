"""What the adapter is in one process: it runs the agent and its endpoints, and decides who handles definitions."""

import contextlib
import logging
import os
import socket
from asyncio import create_task
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from importlib import import_module
from typing import Any, Final

from taskroll_agent.agent import Agent
from taskroll_agent.contracts import API_PREFIX
from taskroll_agent.errors import AgentError
from taskroll_agent.gate import Gate
from taskroll_agent.registry import Registry
from taskroll_agent.settings import PREFIX, AgentSettings

from .apps import Apps
from .host import CornserveHost
from .places import Holders

_log = logging.getLogger(__name__)

TASKLIB: Final = "cornserve_tasklib"
"""The package that Cornserve's task modules are under; a release may not put modules elsewhere, unless told so."""

KINDS: Final = ("TaskDefinition", "ExecutionDescriptor")


class CornserveProcess:
    """One per process, made before Cornserve is imported."""

    def __init__(self) -> None:
        self.registry = Registry()
        self.holders = Holders()
        self.apps = Apps()
        self.host = CornserveHost(self.registry, self.holders, self.apps)
        self.agent: Agent | None = None

    @property
    def gate(self) -> Gate | None:
        return None if self.agent is None else self.agent.gate

    async def until_ready(self) -> None:
        """Wait until a release runs or it is known that there is none, once the agent has been started."""
        if self.agent is not None:
            await self.agent.until_ready()

    async def watch_updates(self, stock: Callable[[], Awaitable[None]]) -> None:
        """Run the agent for as long as the service watches its definitions, and Cornserve's own watch under it.

        Cornserve's watch starts once it is known whether a release runs: a service that cannot read the pointer must
        not load what the custom resources say in the middle of an update.
        """
        if self.agent is not None:
            await stock()
            return
        try:
            await self._run(stock)
        except (AgentError, OSError) as error:
            # Cornserve looks at this task again only when it ends.
            _log.critical("no task classes are loaded: %s: %s", type(error).__name__, error)
            raise

    async def _run(self, stock: Callable[[], Awaitable[None]]) -> None:
        _log_like_cornserve()
        self.agent = agent = Agent(_settings(), registry=self.registry, host=self.host)
        async with _endpoints(agent), agent:
            await agent.until_ready()
            await stock()

    def handle_object(self, stock: Callable[[], None], definition: dict[str, Any], kind: str) -> None:
        """Let Cornserve load a definition, as long as there is no release; then the release alone says what runs."""
        active = self.registry.active
        if kind not in KINDS or active.epoch == 0:
            stock()
            return
        name = f"{kind}/{definition.get('metadata', {}).get('name')}"
        if name in active.generation.digests:
            _log.debug("%s: left to the release", name)
        else:
            _log.warning("%s is not in release %s: deploy it with taskroll to have it loaded", name, active.release)


def _log_like_cornserve() -> None:
    """Let the agent's log go where Cornserve's does, unless the service has said otherwise."""
    mine = logging.getLogger("taskroll_agent")
    if not mine.hasHandlers():
        cornserve = import_module("cornserve.logging").get_logger("cornserve.taskroll_agent")
        mine.handlers, mine.level = cornserve.handlers, cornserve.level


def _settings() -> AgentSettings:
    given: dict[str, Any] = {}
    if not os.environ.get(f"{PREFIX}MODULE_PREFIXES", "").strip():
        given["module_prefixes"] = (TASKLIB,)
    return AgentSettings.from_env(**given)


@asynccontextmanager
async def _endpoints(agent: Agent) -> AsyncGenerator[None]:
    """Serve the agent's endpoints on this event loop."""
    import uvicorn
    from starlette.applications import Starlette
    from starlette.routing import Mount

    from taskroll_agent.asgi import agent_app

    class EmbeddedServer(uvicorn.Server):
        def capture_signals(self) -> contextlib.AbstractContextManager[None]:  # type: ignore[override]
            return contextlib.nullcontext()  # signals are the service's own affair

    app = Starlette(routes=[Mount(API_PREFIX, agent_app(agent))])
    host, port = agent.settings.host, agent.settings.port
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listening = socket.create_server((host, port), family=family, backlog=2048)
    server = EmbeddedServer(uvicorn.Config(app, lifespan="off", log_config=None, access_log=False))
    serving = create_task(server.serve(sockets=[listening]), name="taskroll-agent-endpoints")
    try:
        yield
    finally:
        server.should_exit = server.force_exit = True
        await serving
        listening.close()
