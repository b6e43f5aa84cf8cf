"""The example's replicas on the real API server: processes with Pod objects, kept running."""

import asyncio
import secrets
import signal
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any

import httpx
import pytest
from kubernetes.aio import config as kube_config
from kubernetes.aio.client import ApiClient, CoreV1Api

from examples.fleet import Fleet, FleetSettings, Replica, ReplicaDidNotStart
from examples.pods import Pods
from taskroll.cluster.connection import Cluster
from taskroll.cluster.kubeconfig import ClusterSettings
from taskroll.cluster.manifests import install
from taskroll.devstack import StackInfo
from taskroll.devstack.agent_environment import agent_environment

PORT = 18_400
PATIENCE = 30.0


class Fixture:
    """A fleet in a namespace of its own, and what the API server says of its pods."""

    def __init__(self, api: ApiClient, namespace: str, fleet: Fleet) -> None:
        self.core = CoreV1Api(api)
        self.namespace = namespace
        self.fleet = fleet

    async def is_ready(self, replica: Replica) -> bool:
        pod: Any = await self.core.read_namespaced_pod(replica.pod.name, self.namespace)
        return pod.status.conditions[0].status == "True"

    async def ready(self, replica: Replica, is_ready: bool) -> None:
        """Wait until the API server says so."""
        async with asyncio.timeout(PATIENCE):
            while await self.is_ready(replica) != is_ready:
                await asyncio.sleep(0.02)


@pytest.fixture
async def environment(stack: StackInfo, tmp_path: Path) -> AsyncGenerator[tuple[ApiClient, str, dict[str, str]]]:
    namespace = f"fleet-{secrets.token_hex(4)}"
    async with await Cluster.connect(ClusterSettings(kubeconfig=str(stack.kubeconfig), context="admin")) as cluster:
        await install(cluster, namespace)
        variables = await agent_environment(stack, tmp_path, namespace, cluster)
    api = await kube_config.new_client_from_config(str(stack.kubeconfig), context="admin")
    yield api, namespace, variables | {"TASKROLL_AGENT_TOKEN": "t"}
    await api.close()


@pytest.fixture
async def running(environment: tuple[ApiClient, str, dict[str, str]], tmp_path: Path) -> AsyncGenerator[Fixture]:
    api, namespace, agent = environment
    async with Fleet(Pods(api, namespace), FleetSettings(PORT, tmp_path / "replicas", agent)) as fleet:
        await fleet.start({"gateway": 1, "dispatcher": 2})
        yield Fixture(api, namespace, fleet)


async def test_each_replica_serves_at_the_address_of_its_pod(running: Fixture) -> None:
    assert running.fleet.counts() == {"gateway": 1, "dispatcher": 2}
    async with httpx.AsyncClient(trust_env=False) as client:
        for replica in running.fleet.replicas.values():
            pod: Any = await running.core.read_namespaced_pod(replica.pod.name, running.namespace)
            assert pod.metadata.labels["app"] == replica.pod.service
            response = await client.get(f"http://{pod.status.pod_ip}:{PORT}/taskroll/v1/healthz")
            assert response.json() == {"ready": True, "epoch": 0}
            assert await running.is_ready(replica)


async def test_a_replica_that_dies_is_started_again_in_its_pod(running: Fixture) -> None:
    replica = running.fleet.replicas["gateway-0"]
    assert replica.process is not None
    died = replica.process
    died.send_signal(signal.SIGKILL)
    async with asyncio.timeout(PATIENCE):
        await died.wait()
        await replica.died.wait()
        await replica.serving.wait()
    assert replica.starts == 2
    assert replica.process is not died
    await running.ready(replica, True)


async def test_a_replica_that_is_held_stays_down_until_it_may_start(running: Fixture) -> None:
    replica = running.fleet.replicas["gateway-0"]
    assert replica.process is not None
    replica.die_on_activation()
    # It was told to die at the next release; here it dies by itself.
    replica.process.kill()
    async with asyncio.timeout(PATIENCE):
        await replica.died.wait()
    await running.ready(replica, False)
    assert replica.process is None
    replica.let_start()
    async with asyncio.timeout(PATIENCE):
        await replica.serving.wait()
    await running.ready(replica, True)


async def test_nothing_runs_after_the_fleet_has_stopped(running: Fixture) -> None:
    processes = [replica.process for replica in running.fleet.replicas.values()]
    await running.fleet.stop()
    assert all(process is not None and process.returncode is not None for process in processes)


async def test_a_replica_that_cannot_start_is_named(
    environment: tuple[ApiClient, str, dict[str, str]], tmp_path: Path
) -> None:
    api, namespace, agent = environment
    without_token = {name: value for name, value in agent.items() if name != "TASKROLL_AGENT_TOKEN"}
    async with Fleet(Pods(api, namespace), FleetSettings(PORT, tmp_path / "replicas", without_token)) as fleet:
        with pytest.raises(ReplicaDidNotStart, match=r"gateway-0 ended before it served"):
            await fleet.start({"gateway": 1})
