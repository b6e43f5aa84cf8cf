"""What the agent's tests share: agents on releases in memory, and a way to wait that is told rather than timed."""

import asyncio
import gc
import itertools
import sys
import textwrap
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from typing import Any

import pytest

from taskroll_agent import Agent, AgentSettings, Generation
from taskroll_agent.contracts import ActivateRequest, DefinitionContent, PrepareRequest, ReleasePointer
from taskroll_agent.loading import Loading, Revision
from taskroll_agent.memory_cluster import MemoryCluster, task_definition

PATIENCE = 10.0
"""Seconds until a wait counts as failed. Nothing waits so long when it goes well."""

_roots = itertools.count(1)


@pytest.fixture
def root() -> Iterator[str]:
    """A package name that no other test uses; nothing of it may be left in `sys.modules`."""
    name = f"lib{next(_roots)}"
    yield name
    left = [module for module in sys.modules if module.partition(".")[0] == name]
    assert left == [], "fronts were left in sys.modules"


def make_revisions(sources: Mapping[str, str]) -> dict[str, Revision]:
    """``module.Class`` → source, as revisions by definition key."""
    contents: list[DefinitionContent] = []
    for name, source in sources.items():
        module, _, class_name = name.rpartition(".")
        contents.append(task_definition(module, class_name, textwrap.dedent(source)))
    return {str(content.key): Revision(content.digest(), content) for content in contents}


@pytest.fixture
def load() -> Callable[[Mapping[str, str]], Generation]:
    """Load ``module.Class`` → source into a generation."""
    return lambda sources: Loading(make_revisions(sources)).run()


@pytest.fixture
def revisions() -> Callable[[Mapping[str, str]], dict[str, Revision]]:
    return make_revisions


@pytest.fixture
def memory() -> MemoryCluster:
    return MemoryCluster()


@pytest.fixture
def settings() -> AgentSettings:
    return AgentSettings(namespace="tests", kube_url="http://unused", pod="pod-1", pod_uid="uid-1", token="secret")


StartAgent = Callable[..., Awaitable[Agent]]


@pytest.fixture
async def start_agent(settings: AgentSettings, memory: MemoryCluster) -> AsyncIterator[StartAgent]:
    """Start an agent on the releases in memory, with settings changed by keyword; ended after the test."""
    agents: list[Agent] = []

    async def start(**changed: Any) -> Agent:
        agent = Agent(settings.model_copy(update=changed), cluster=memory)
        agents.append(agent)
        await agent.start()
        return agent

    yield start
    for agent in agents:
        await agent.stop()
        agent.registry.close()


@pytest.fixture
def reached() -> Callable[[Agent, int], Awaitable[None]]:
    """Wait until the agent serves an epoch, told by the registry."""

    async def wait(agent: Agent, epoch: int) -> None:
        changed = asyncio.Event()
        loop = asyncio.get_running_loop()
        remove = agent.registry.on_activate(lambda *_: loop.call_soon_threadsafe(changed.set) and None)
        try:
            async with asyncio.timeout(PATIENCE):
                while agent.registry.active.epoch < epoch:
                    await changed.wait()
                    changed.clear()
        finally:
            remove()

    return wait


@pytest.fixture
def until() -> Callable[[Callable[[], Any]], Awaitable[Any]]:
    """Look again and again until a condition holds, and return what it gave; for what tells nobody."""

    async def wait(condition: Callable[[], Any]) -> Any:
        async with asyncio.timeout(PATIENCE):
            while not (value := condition()):
                await asyncio.sleep(0.005)
            return value

    return wait


@pytest.fixture
def prepare_request() -> Callable[..., PrepareRequest]:
    def make(request_id: str, definitions: Mapping[str, str | None]) -> PrepareRequest:
        return PrepareRequest(request_id=request_id, definitions=dict(definitions))

    return make


@pytest.fixture
def activation() -> Callable[[ReleasePointer], ActivateRequest]:
    return lambda pointer: ActivateRequest(**pointer.model_dump())


@pytest.fixture
def collected() -> Callable[[], None]:
    """Let the interpreter free what nobody refers to."""

    def collect() -> None:
        for _ in range(3):
            gc.collect()

    return collect
