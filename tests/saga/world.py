"""A world of its own for each test of the saga: Kubernetes namespace, task queue, worker, replicas, client."""

import asyncio
import base64
import secrets
from collections.abc import AsyncGenerator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, field, replace
from typing import Any

import yaml
from kubernetes.aio import config as kube_config
from kubernetes.aio.client import ApiClient, CustomObjectsApi
from temporalio.client import Client, WorkflowHandle
from temporalio.worker import Worker

from starter.client import TaskrollClient
from starter.settings import Settings
from starter.submission import Submission
from starter.update_view import UpdateView
from taskroll.cluster.connection import Cluster
from taskroll.cluster.definitions import list_definitions
from taskroll.cluster.errors import Forbidden
from taskroll.cluster.kubeconfig import ClusterSettings
from taskroll.cluster.manifests import install
from taskroll.devstack import StackInfo
from taskroll.models.apps import AppSource
from taskroll.models.names import workflow_id
from taskroll.models.policy import UpdatePolicy
from taskroll.models.provenance import GitProvenance
from taskroll.models.request import UpdateRequest
from taskroll.models.status import Phase
from taskroll.platforms.cornserve.gateway import Gateway
from taskroll.services.agent_calls import AgentCalls
from taskroll.services.configuration import ServicesConfig
from taskroll.services.configuration_file import parse_services
from taskroll.services.fleet import Fleet
from taskroll_agent.contracts import DefinitionContent, canonical_json
from worker.settings import WorkerSettings
from worker.wiring import Connections, connect_temporal, create_worker

from .faults import Faults
from .replicas import PORT, TOKEN, Replicas
from .sources import library

CORNSERVE = ("cornserve.ai", "v1")

TOKEN_VARIABLE = "TASKROLL_TEST_AGENT_TOKEN"

SERVICES = ("gateway", "dispatcher")

QUICK = UpdatePolicy(
    fence_timeout=60, drain_timeout=60, prepare_timeout=30, verify_timeout=30, rollback_timeout=60, approval_timeout=60
)
"""Deadlines that a test may meet without being slow; a test that means one of them sets it."""
PATIENT = QUICK.model_copy(
    update={"fence_timeout": 300.0, "prepare_timeout": 120.0, "verify_timeout": 120.0, "rollback_timeout": 120.0}
)
"""For tests in which much goes on at once: a deadline that is missed would take the update back."""


def services_config(
    token_variable: str, services: Sequence[str] = SERVICES, gateway_url: str | None = None
) -> ServicesConfig:
    """Services found by the label of their pods; with a gateway, Cornserve as platform."""
    platform = {"platform": {"kind": "cornserve", "gateway": {"url": gateway_url}}} if gateway_url else {}
    return parse_services(
        yaml.safe_dump(
            {
                **platform,
                "services": [
                    {
                        "name": name,
                        "discovery": {"type": "pods", "labels": {"app": name}},
                        "strategy": "agent",
                        "port": PORT,
                        "token": {"env": token_variable},
                    }
                    for name in services
                ],
            }
        ),
        "services of the tests",
    )


@dataclass
class World:
    """What a test of the saga has at hand."""

    stack: StackInfo
    namespace: str
    task_queue: str
    connections: Connections
    replicas: Replicas
    client: TaskrollClient
    api: ApiClient
    exempt_api: ApiClient
    _exits: AsyncExitStack
    worker: Worker | None = None
    faults: Faults = field(default_factory=Faults)

    @property
    def temporal(self) -> Client:
        return self.connections.temporal

    @property
    def cluster(self) -> Cluster:
        return self.connections.cluster

    async def start_worker(self) -> Worker:
        """Start a worker in this process, under `faults`."""
        settings = WorkerSettings(task_queue=self.task_queue, graceful_shutdown_timeout=0)
        self.worker = create_worker(self.connections, settings, interceptors=[self.faults])
        await self._exits.enter_async_context(self.worker)
        return self.worker

    async def with_services(self, config: ServicesConfig) -> None:
        """Let the workers that start from here on know these services, and the platform if there is one."""
        gateway = await self._exits.enter_async_context(Gateway(config.platform)) if config.platform else None
        fleet = replace(self.connections.fleet, config=config)
        self.connections = replace(self.connections, gateway=gateway, fleet=fleet)

    async def submit(
        self,
        definitions: Sequence[DefinitionContent] = (),
        *,
        request_id: str | None = None,
        policy: UpdatePolicy = QUICK,
        delete: Sequence[str] = (),
        target_release: int | None = None,
        reason: str = "a test",
        git: GitProvenance | None = None,
        apps: Sequence[AppSource] = (),
    ) -> str:
        """Start an update; return its request id."""
        submission: Submission = await self.client.submit(
            UpdateRequest(
                request_id=request_id or f"u-{secrets.token_hex(4)}",
                namespace=self.namespace,
                requested_by="tester",
                reason=reason,
                git=git,
                definitions=list(definitions),
                delete=list(delete),
                target_release=target_release,
                apps=list(apps),
                policy=policy,
            )
        )
        return submission.request_id

    async def ended(self, request_id: str) -> UpdateView:
        """Wait until the update has settled."""
        async for view in self.client.watch(request_id):
            if view.is_over:
                return view
        raise AssertionError(f"{request_id} is not over")

    async def update(self, definitions: Sequence[DefinitionContent], **more: Any) -> UpdateView:
        """Start an update and wait for its end."""
        return await self.ended(await self.submit(definitions, **more))

    async def in_phase(self, request_id: str, phase: Phase) -> UpdateView:
        """Wait until the update is in that phase."""
        async for view in self.client.watch(request_id):
            if view.status.phase == phase:
                return view
        raise AssertionError(f"{request_id} ended before {phase}")

    async def waiting(self, request_id: str, for_what: str) -> UpdateView:
        """Wait until the update says that it waits for something whose name holds this text."""
        async for view in self.client.watch(request_id):
            if any(for_what in whom for whom in view.status.waiting_for):
                return view
        raise AssertionError(f"{request_id} never waited for {for_what}")

    def handle(self, request_id: str) -> WorkflowHandle[Any, Any]:
        return self.temporal.get_workflow_handle(workflow_id(self.namespace, request_id))

    async def definitions(self) -> dict[str, bytes]:
        """All definitions, byte for byte, without what the API server keeps for itself."""
        live = await list_definitions(self.cluster, self.namespace)
        return {
            key: canonical_json({"spec": found.content.spec, "metadata": found.metadata.model_dump(mode="json")})
            for key, found in live.items()
        }

    async def create_definition(self, content: DefinitionContent, **metadata: Any) -> None:
        """Create a definition by hand, as somebody without taskroll does."""
        body = {
            "apiVersion": "/".join(CORNSERVE),
            "kind": content.kind,
            "metadata": {"name": content.name, **metadata},
            "spec": content.spec,
        }
        await self.custom.create_namespaced_custom_object(*CORNSERVE, self.namespace, "taskdefinitions", body)

    async def create_instance(self, class_name: str, name: str = "instance-1") -> None:
        """Register an instance of a task."""
        body = {
            "apiVersion": "/".join(CORNSERVE),
            "kind": "UnitTaskInstance",
            "metadata": {"name": name},
            "spec": {"definitionRef": class_name, "config": {}, "executionDescriptorName": "none"},
        }
        await self.custom.create_namespaced_custom_object(*CORNSERVE, self.namespace, "unittaskinstances", body)

    async def delete_instance(self, name: str = "instance-1") -> None:
        await self.custom.delete_namespaced_custom_object(*CORNSERVE, self.namespace, "unittaskinstances", name)

    @property
    def custom(self) -> CustomObjectsApi:
        return CustomObjectsApi(self.api)

    @property
    def exempt(self) -> CustomObjectsApi:
        """Of somebody whom the admission policies take for taskroll."""
        return CustomObjectsApi(self.exempt_api)


@asynccontextmanager
async def create_world(
    stack: StackInfo,
    token_variable: str,
    namespace: str | None = None,
    services: ServicesConfig | None = None,
) -> AsyncGenerator[World]:
    """Make a world on the running stack, in a namespace of its own or the one given; take it down again."""
    services = services or services_config(token_variable)
    namespace = namespace or f"saga-{secrets.token_hex(4)}"
    task_queue = f"saga-{namespace}"
    async with AsyncExitStack() as exits:
        cluster = await exits.enter_async_context(
            await Cluster.connect(ClusterSettings(kubeconfig=str(stack.kubeconfig), context="taskroll"))
        )
        await _install_rights(stack, namespace, cluster)
        api = await kube_config.new_client_from_config(str(stack.kubeconfig), context="admin")
        exits.push_async_callback(api.close)
        exempt_api = await kube_config.new_client_from_config(str(stack.kubeconfig), context="taskroll")
        exits.push_async_callback(exempt_api.close)
        calls = await exits.enter_async_context(AgentCalls())
        temporal = await connect_temporal(WorkerSettings(temporal_address=stack.temporal_address))
        connections = Connections(temporal, cluster, Fleet(services, cluster, calls))
        replicas = Replicas(stack, namespace, api, agent_settings(stack, namespace))
        exits.push_async_callback(replicas.stop_all)
        client = TaskrollClient(
            Settings(
                namespace=namespace,
                kubeconfig=str(stack.kubeconfig),
                context="admin",
                temporal_address=stack.temporal_address,
                task_queue=task_queue,
            )
        )
        exits.push_async_callback(client.close)
        yield World(stack, namespace, task_queue, connections, replicas, client, api, exempt_api, exits)


async def _install_rights(stack: StackInfo, namespace: str, taskroll: Cluster) -> None:
    """Give the worker its rights in the namespace, and wait until the API server's authorizer knows of them."""
    async with await Cluster.connect(ClusterSettings(kubeconfig=str(stack.kubeconfig), context="admin")) as admin:
        await install(admin, namespace, folders=("rbac/dev",))
    async with asyncio.timeout(10):
        while True:
            with suppress(Forbidden):
                await list_definitions(taskroll, namespace)
                return
            await asyncio.sleep(0.005)


def agent_settings(stack: StackInfo, namespace: str) -> dict[str, Any]:
    """How an agent of the tests reaches the API server."""
    kubeconfig = yaml.safe_load(stack.kubeconfig.read_text())
    authority = stack.kubeconfig.parent / "kube" / "tests-ca.crt"
    authority.write_bytes(base64.b64decode(kubeconfig["clusters"][0]["cluster"]["certificate-authority-data"]))
    token = next(user["user"]["token"] for user in kubeconfig["users"] if user["name"] == "admin")
    return {
        "namespace": namespace,
        "kube_url": stack.kube_url,
        "kube_ca_file": authority,
        "kube_token": token,
        "token": TOKEN,
    }


__all__ = ["QUICK", "World", "create_world", "library"]
