"""What the benchmarks run on: taskroll's worker as a process, replicas in processes of their own, a client here."""

import secrets
import time
from collections.abc import AsyncGenerator, Iterable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import yaml
from kubernetes.aio import config as kube_config

from examples.child_processes import end_process
from examples.pods import Pods
from examples.worker_process import TOKEN_VARIABLE, start_worker
from starter.client import TaskrollClient, open_client
from starter.settings import Settings
from taskroll.cluster.connection import Cluster
from taskroll.cluster.kubeconfig import ClusterSettings
from taskroll.cluster.manifests import DEV_FOLDERS, install
from taskroll.devstack import StackInfo
from taskroll.devstack.agent_environment import agent_environment
from taskroll.devstack.info import ADMIN, DEVELOPER
from taskroll.models.names import workflow_id
from taskroll.models.request import UpdateRequest
from taskroll.models.status import UpdateStatus
from taskroll_agent.contracts import DefinitionContent

from .bare_script import BareScript
from .definitions import library, probed_class
from .hosted_replicas import SERVICE, HostedReplicas
from .replica_host import PORT


@dataclass(frozen=True)
class Size:
    """How much is updated, and where."""

    definitions: int
    replicas: int
    per_process: int


@dataclass
class World:
    """One namespace with its replicas. Versions count up: each update is one that nobody has loaded before."""

    namespace: str
    size: Size
    client: TaskrollClient
    bare: BareScript
    replicas: HostedReplicas
    version: int = 0
    statuses: list[UpdateStatus] = field(default_factory=list[UpdateStatus])

    def next_library(self) -> list[DefinitionContent]:
        """The next version of all definitions."""
        self.version += 1
        return library(self.version, self.size.definitions)

    async def saga(self) -> float:
        """Update to the next version by taskroll; seconds from the request to its result.

        Raises:
            RuntimeError: where it does not go through.
        """
        request = UpdateRequest(
            request_id=f"saga-{self.version + 1}",
            namespace=self.namespace,
            requested_by="benchmark",
            definitions=self.next_library(),
        )
        temporal = await self.client.temporal.client()
        started = time.perf_counter()
        await self.client.submit(request)
        handle = temporal.get_workflow_handle(workflow_id(self.namespace, request.request_id), result_type=UpdateStatus)
        status = await handle.result()
        seconds = time.perf_counter() - started
        if status.outcome != "completed" or status.replicas != self.size.replicas:
            raise RuntimeError(f"update {request.request_id}: {status}")
        self.statuses.append(status)
        return seconds

    async def script(self) -> float:
        """Update to the next version by the bare script; seconds."""
        contents = self.next_library()
        started = time.perf_counter()
        await self.bare.update(f"bare-{self.version}", contents)
        return time.perf_counter() - started


@asynccontextmanager
async def worker_for_all(stack: StackInfo, folder: Path) -> AsyncGenerator[str]:
    """A worker that knows the benchmarks' one service, in whatever namespace; yields the token that it shows."""
    services = folder / "services.yaml"
    service = {
        "name": SERVICE,
        "discovery": {"type": "pods", "labels": {"app": SERVICE}},
        "strategy": "agent",
        "port": PORT,
        "token": {"env": TOKEN_VARIABLE},
    }
    services.write_text(yaml.safe_dump({"services": [service]}))
    token = secrets.token_urlsafe(24)
    worker = await start_worker(stack, folder, services, token, reconciles=False)
    try:
        await worker.polls()
        yield token
    finally:
        await end_process(worker.process)


@asynccontextmanager
async def bench_world(stack: StackInfo, folder: Path, namespace: str, token: str, size: Size) -> AsyncGenerator[World]:
    """Start the replicas in a namespace of their own; on leaving, they have ended."""
    async with AsyncExitStack() as exits:
        admin = ClusterSettings(kubeconfig=str(stack.kubeconfig), context=ADMIN)
        async with await Cluster.connect(admin) as cluster:
            await install(cluster, namespace, folders=DEV_FOLDERS)
            environment = await _agent_environment(stack, folder, namespace, cluster, token)
        api = await kube_config.new_client_from_config(str(stack.kubeconfig), context=ADMIN)
        exits.push_async_callback(api.close)
        replicas = await exits.enter_async_context(
            HostedReplicas(Pods(api, namespace), environment, folder, probed_class(size.definitions), size.per_process)
        )
        await replicas.start(size.replicas)
        settings = Settings(
            namespace=namespace,
            kubeconfig=str(stack.kubeconfig),
            context=DEVELOPER,
            temporal_address=stack.temporal_address,
        )
        client = await exits.enter_async_context(open_client(settings))
        bare = await exits.enter_async_context(BareScript(stack, namespace, token))
        yield World(namespace, size, client, bare, replicas)


async def _agent_environment(
    stack: StackInfo, folder: Path, namespace: str, cluster: Cluster, token: str
) -> dict[str, str]:
    """The agents', with a developer's rights: a replica as it is without taskroll reads the custom resources."""
    environment = await agent_environment(stack, folder, namespace, cluster)
    del environment["TASKROLL_AGENT_KUBE_TOKEN_FILE"]
    kubeconfig = yaml.safe_load(stack.kubeconfig.read_text())
    kube_token = next(user["user"]["token"] for user in kubeconfig["users"] if user["name"] == DEVELOPER)
    return environment | {"TASKROLL_AGENT_KUBE_TOKEN": kube_token, "TASKROLL_AGENT_TOKEN": token}


def step_seconds(statuses: Iterable[UpdateStatus]) -> dict[str, list[float]]:
    """Durations of each step, over the updates."""
    seconds: dict[str, list[float]] = {}
    for status in statuses:
        for step in status.steps:
            seconds.setdefault(step.name, []).append(step.seconds or 0.0)
    return seconds
