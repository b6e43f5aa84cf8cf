"""What the agent's tests share: agents on releases in memory, and a way to wait that is told rather than timed."""

import asyncio
import gc
import itertools
import os
import sys
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from taskroll.devstack import StackInfo
from taskroll_agent import Agent, AgentSettings, Generation, Registry
from taskroll_agent.contracts import ActivateRequest, ReleasePointer
from taskroll_agent.loading import Loading, Revision
from taskroll_agent.memory_cluster import MemoryCluster
from tests.agent.administrator import Administrator
from tests.agent.proxy import Proxy
from tests.agent.sources import make_revisions
from tests.agent.versions import Versions

PATIENCE = 60.0
"""Seconds until a wait counts as failed. Nothing waits so long when it goes well."""

_roots = itertools.count(1)


@pytest.fixture
def root() -> Iterator[str]:
    """A package name that no other test uses; nothing of it may be left in `sys.modules`."""
    name = f"lib{next(_roots)}"
    yield name
    for thread in threading.enumerate():
        if thread.name == "taskroll-load":  # one that a test has let the agent give up
            thread.join(PATIENCE)
    left = [module for module in list(sys.modules) if module.partition(".")[0] == name]
    assert left == [], "fronts were left in sys.modules"


@pytest.fixture
def load() -> Callable[[Mapping[str, str]], Generation]:
    """Load ``module.Class`` → source into a generation."""
    return lambda sources: Loading(make_revisions(sources)).run()


@pytest.fixture
def versions(load: Callable[[Mapping[str, str]], Generation], root: str) -> Iterator[Versions]:
    made = Versions(load, root)
    yield made
    assert made.leases() == {}, "a lease was not given back"
    made.registry.close()


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
async def start_agent(root: str, settings: AgentSettings, memory: MemoryCluster) -> AsyncIterator[StartAgent]:
    """Start an agent on the releases in memory, with settings changed by keyword; ended after the test.

    Asks for `root`, so that this one looks for what is left after the agents have ended.
    """
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
def activation() -> Callable[[ReleasePointer], ActivateRequest]:
    return lambda pointer: ActivateRequest(**pointer.model_dump())


@pytest.fixture
def collected() -> Callable[[], None]:
    """Let the interpreter free what nobody refers to."""

    def collect() -> None:
        for _ in range(3):
            gc.collect()

    return collect


_namespaces = itertools.count(1)


@pytest.fixture
def kube(stack: StackInfo, tmp_path: Path) -> Iterator[Administrator]:
    made = Administrator(stack, f"agent-{os.getpid()}-{next(_namespaces)}", tmp_path)
    yield made
    made.http.delete(f"{made.core}/configmaps").raise_for_status()
    made.http.delete(made.revisions).raise_for_status()
    made.http.close()


@pytest.fixture
def make_kube() -> type[Administrator]:
    """For a test that runs an API server of its own."""
    return Administrator


@pytest.fixture
async def start_on() -> AsyncIterator[Callable[..., Awaitable[Agent]]]:
    """Start an agent with these settings; ended after the test."""
    agents: list[Agent] = []

    async def start(settings: AgentSettings, registry: Registry | None = None) -> Agent:
        agents.append(Agent(settings, registry=registry))
        await agents[-1].start()
        return agents[-1]

    yield start
    for agent in agents:
        await agent.stop()
        agent.registry.close()


@pytest.fixture
async def proxy(stack: StackInfo) -> AsyncIterator[Proxy]:
    host, _, port = stack.kube_url.removeprefix("https://").partition(":")
    made = Proxy(host, int(port))
    await made.open()
    yield made
    made.speak()
    await made.cut()
