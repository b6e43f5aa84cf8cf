"""A stack whose controllers make pods of Deployments, and a world with two stock services on it."""

import asyncio
from collections.abc import AsyncGenerator, Iterator
from dataclasses import dataclass

import pytest

from taskroll.cluster.connection import Cluster
from taskroll.cluster.kubeconfig import ClusterSettings
from taskroll.cluster.manifests import install
from taskroll.devstack import DevStack, StackInfo
from taskroll.services.configuration_file import parse_services
from tests.saga.replicas import PORT, TOKEN
from tests.saga.sources import library
from tests.saga.world import TOKEN_VARIABLE, World, agent_settings, create_world

from .deployments import Deployments, next_second
from .pod_runner import PodRunner

STOCK = ("dispatcher", "gateway")
SERVICES = """\
services:
  - name: dispatcher
    strategy: restart
    deployment: dispatcher
    discovery: {type: pods, labels: {app: dispatcher}}
    restart: {timeout: 40}
  - name: gateway
    strategy: restart
    deployment: gateway
    discovery: {type: pods, labels: {app: gateway}}
    order: 1
    restart: {timeout: 40}
"""
MIXED = f"""{SERVICES}\
  - name: agents
    discovery: {{type: pods, labels: {{app: agents}}}}
    port: {PORT}
    token: {{env: {TOKEN_VARIABLE}}}
"""


@dataclass
class StockWorld:
    """A world whose services have no agent: what their pods serve is asked from their processes."""

    world: World
    runner: PodRunner

    @property
    def deployments(self) -> Deployments:
        return Deployments(self.world.api, self.world.namespace)

    def use(self, services: str) -> None:
        self.world.connections.fleet.config = parse_services(services, "services of the tests")

    async def pods(self, *names: str) -> set[str]:
        """Names of the pods of these services."""
        await self.runner.look()
        return {pod.name for pod in self.runner.pods.values() if pod.app in names}

    async def versions(self, *names: str) -> list[int | None]:
        """Which version of the encoder each pod of these services serves; None for one that serves nothing."""
        await self.runner.look()
        return [pod.versions.get("EncoderTask") for pod in self.runner.pods.values() if pod.app in names]

    async def start_on_version_1(self) -> None:
        """Two stock services of two pods each that serve version 1, for a second at least."""
        for content in library(1):
            await self.world.create_definition(content)
        await asyncio.gather(*(self.deployments.create(name, 2) for name in STOCK))
        assert await self.versions(*STOCK) == [1] * 4
        await next_second()


@pytest.fixture(scope="session")
def controlled_stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[StackInfo]:
    """A stack of its own: the controllers would delete what other tests leave lying about."""
    folder = tmp_path_factory.mktemp("controlled")
    components = ("temporal", "etcd", "kube-apiserver", "kube-controller-manager")
    with DevStack(folder, components=components) as started:
        yield started


@pytest.fixture(scope="session")
async def controlled(controlled_stack: StackInfo) -> StackInfo:
    settings = ClusterSettings(kubeconfig=str(controlled_stack.kubeconfig), context="admin")
    async with await Cluster.connect(settings) as cluster:
        await install(cluster, "taskroll-tests")
    return controlled_stack


@pytest.fixture
async def stock(controlled: StackInfo, monkeypatch: pytest.MonkeyPatch) -> AsyncGenerator[StockWorld]:
    """Two stock services of two pods each that serve version 1; no worker yet."""
    monkeypatch.setenv(TOKEN_VARIABLE, TOKEN)
    async with create_world(controlled, TOKEN_VARIABLE) as world:
        settings = agent_settings(controlled, world.namespace)
        async with PodRunner(controlled, world.namespace, world.api, settings).running() as runner:
            stock = StockWorld(world, runner)
            stock.use(SERVICES)
            yield stock
            for name in STOCK:
                await stock.deployments.delete(name)
