"""What the agent's tests share: agents on releases in memory, and a way to wait that is told rather than timed."""

import asyncio
import base64
import gc
import itertools
import os
import ssl
import sys
import textwrap
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from taskroll.devstack import StackInfo
from taskroll_agent import Agent, AgentSettings, Generation, Registry
from taskroll_agent.contracts import POINTER_NAME, ActivateRequest, DefinitionContent, ReleasePointer, revision_name
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


class Kube:
    """Writes what an agent reads, as an administrator of a real API server, in a namespace of its own."""

    def __init__(self, info: StackInfo, namespace: str, folder: Path) -> None:
        config = yaml.safe_load(info.kubeconfig.read_text())
        by_name = {user["name"]: user["user"] for user in config["users"]}
        self.url, self.namespace = info.kube_url, namespace
        self.token: str = by_name[info.kube_context]["token"]
        self.ca_file = folder / f"{namespace}-ca.crt"
        self.ca_file.write_bytes(base64.b64decode(config["clusters"][0]["cluster"]["certificate-authority-data"]))
        self.http = httpx.Client(
            base_url=info.kube_url,
            verify=ssl.create_default_context(cafile=str(self.ca_file)),
            headers={"Authorization": f"Bearer {self.token}"},
            timeout=30,
        )
        self.core = f"/api/v1/namespaces/{namespace}"
        self.revisions = f"/apis/apps/v1/namespaces/{namespace}/controllerrevisions"
        self.post("/api/v1/namespaces", {"metadata": {"name": namespace}})

    def post(self, path: str, body: dict[str, Any], *, exists: bool = False) -> dict[str, Any]:
        response = self.http.post(path, json=body)
        if not (exists and response.status_code == 409):
            response.raise_for_status()
        return response.json()

    def store(self, name: str, data: dict[str, Any], *, exists: bool = True) -> None:
        """Write a ControllerRevision."""
        body = {"apiVersion": "apps/v1", "kind": "ControllerRevision", "metadata": {"name": name}, "revision": 1}
        self.post(self.revisions, {**body, "data": data}, exists=exists)

    def write_release(self, sources: Mapping[str, str], *, epoch: int, request_id: str = "req") -> ReleasePointer:
        """Store ``module.Class`` → source and a release of them, without moving the pointer."""
        memory = MemoryCluster()
        contents = [found.content for found in make_revisions(sources).values()]
        for content in contents:
            self.store(revision_name(content.key, content.digest()), content.model_dump(mode="json"))
        pointer = memory.write_release(memory.add(*contents), epoch=epoch, request_id=request_id)
        self.store(pointer.release, memory.releases[pointer.release].model_dump(mode="json"))
        return pointer

    def move(self, data: dict[str, str]) -> None:
        """Write the pointer's ConfigMap."""
        path, body = f"{self.core}/configmaps", {"metadata": {"name": POINTER_NAME}, "data": data}
        if self.http.put(f"{path}/{POINTER_NAME}", json=body).status_code == 404:
            self.post(path, body)

    def commit(self, sources: Mapping[str, str], *, epoch: int, request_id: str = "req") -> ReleasePointer:
        pointer = self.write_release(sources, epoch=epoch, request_id=request_id)
        self.move(pointer.data())
        return pointer

    def settings(self, **changed: Any) -> AgentSettings:
        given: dict[str, Any] = {
            "namespace": self.namespace,
            "kube_url": self.url,
            "kube_ca_file": self.ca_file,
            "kube_token": self.token,
            "pod": "pod-1",
            "token": "secret",
        }
        return AgentSettings(**(given | changed))


_namespaces = itertools.count(1)


@pytest.fixture
def kube(stack: StackInfo, tmp_path: Path) -> Iterator[Kube]:
    made = Kube(stack, f"agent-{os.getpid()}-{next(_namespaces)}", tmp_path)
    yield made
    made.http.delete(f"{made.core}/configmaps").raise_for_status()
    made.http.delete(made.revisions).raise_for_status()
    made.http.close()


@pytest.fixture
def make_kube() -> type[Kube]:
    """For a test that runs an API server of its own."""
    return Kube


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


class Proxy:
    """A TCP connection to the API server that a test can cut, or silence: open, but nothing comes through."""

    def __init__(self, host: str, port: int) -> None:
        self._target = (host, port)
        self._writers: set[asyncio.StreamWriter] = set()
        self._flows = asyncio.Event()
        self._flows.set()
        self._server: asyncio.Server | None = None
        self.connections = 0
        """Made since the beginning."""

    @property
    def url(self) -> str:
        assert self._server is not None
        return f"https://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"

    async def open(self, port: int = 0) -> None:
        self._server = await asyncio.start_server(self._connected, "127.0.0.1", port)

    async def cut(self) -> int:
        """Close all connections and refuse new ones; returns the port to open again."""
        assert self._server is not None
        port = self._server.sockets[0].getsockname()[1]
        self._server.close()
        self.drop()
        return port

    def drop(self) -> None:
        """Break the connections that there are; new ones are let through."""
        for writer in list(self._writers):
            writer.transport.abort()

    def silence(self) -> None:
        self._flows.clear()

    def speak(self) -> None:
        self._flows.set()

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        self._writers.add(writer)
        try:
            behind_reader, behind_writer = await asyncio.open_connection(*self._target)
        except OSError:
            writer.transport.abort()
            return
        self._writers.add(behind_writer)
        await asyncio.gather(
            self._pump(reader, behind_writer), self._pump(behind_reader, writer), return_exceptions=True
        )

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while data := await reader.read(65536):
                await self._flows.wait()
                writer.write(data)
                await writer.drain()
        except OSError:
            pass
        finally:
            self._writers.discard(writer)
            writer.close()


@pytest.fixture
async def proxy(stack: StackInfo) -> AsyncIterator[Proxy]:
    host, _, port = stack.kube_url.removeprefix("https://").partition(":")
    made = Proxy(host, int(port))
    await made.open()
    yield made
    made.speak()
    await made.cut()
