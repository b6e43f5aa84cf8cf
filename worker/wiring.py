"""The only place where clients are built and activities get what they need."""

import os
import socket
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from importlib.metadata import version
from typing import Any

from temporalio.client import Client
from temporalio.contrib.pydantic import pydantic_data_converter
from temporalio.envconfig import ClientConfig
from temporalio.runtime import PrometheusConfig, Runtime, TelemetryConfig
from temporalio.worker import Interceptor, Worker

from activities.abort_prepared import AbortPrepared
from activities.assess_update import AssessUpdate
from activities.attest_replicas import AttestReplicas
from activities.check_unregistered import CheckUnregistered
from activities.closure_usage import ClosureUsage
from activities.commit_release import CommitRelease
from activities.find_dead_updates import FindDeadUpdates
from activities.finish_update import FinishUpdate
from activities.hold_calls import HoldCalls
from activities.invalidate_services import InvalidateServices
from activities.patch_definitions import PatchDefinitions
from activities.phase_notes import PhaseNotes
from activities.plan_update import PlanUpdate
from activities.prepare_services import PrepareServices
from activities.raise_fence import RaiseFence
from activities.release_calls import ReleaseCalls
from activities.restore_apps import RestoreApps
from activities.restore_definitions import RestoreDefinitions
from activities.revert_release import RevertRelease
from activities.services_in_reach import ServicesInReach
from activities.shut_down_apps import ShutDownApps
from activities.stage_revisions import StageRevisions
from activities.take_over import TakeOver
from activities.verify_services import VerifyServices
from activities.worker_rights import WorkerRights
from taskroll.cluster.connection import Cluster
from taskroll.cluster.kubeconfig import ClusterSettings
from taskroll.platforms.cornserve.gateway import Gateway
from taskroll.services.agent_calls import AgentCalls
from taskroll.services.configuration import ServicesConfig
from taskroll.services.configuration_file import load_services
from taskroll.services.fleet import Fleet
from workflows.reconcile import TaskReconcileWorkflow
from workflows.task_recovery import TaskRecoveryWorkflow
from workflows.task_update import TaskUpdateWorkflow
from workflows.task_versions import TaskVersionsWorkflow
from workflows.worker_rights import WorkerRightsWorkflow

from .settings import WorkerSettings

WORKFLOWS: Sequence[type] = (
    TaskUpdateWorkflow,
    TaskVersionsWorkflow,
    TaskReconcileWorkflow,
    TaskRecoveryWorkflow,
    WorkerRightsWorkflow,
)

STICKY_TIMEOUT = timedelta(seconds=3)
"""How long a workflow waits for the worker that last ran it, when that one died; the SDK's default is 10 s."""

HEARTBEAT_THROTTLE = timedelta(seconds=1)
"""A cancel reaches an activity with the answer to its heartbeat, so heartbeats are not held back for longer."""


@dataclass(frozen=True)
class Connections:
    """The clients that one worker process holds."""

    temporal: Client
    cluster: Cluster
    fleet: Fleet
    gateway: Gateway | None = None
    """Of the platform, where ``services.yaml`` names one."""


@asynccontextmanager
async def connect(
    settings: WorkerSettings, services: ServicesConfig | None = None, runtime: Runtime | None = None
) -> AsyncGenerator[Connections]:
    """Open all clients; close them on leaving.

    Args:
        services: instead of those of the file that the settings name.
        runtime: the SDK's, with its metrics; None for the default one.

    Raises:
        InvalidConfiguration: for a services file that is wrong.
        ClusterError: where the API server cannot be reached.
        RuntimeError: where Temporal cannot be reached.
    """
    async with AsyncExitStack() as stack:
        config = services or load_services(settings.services)
        cluster = await stack.enter_async_context(
            await Cluster.connect(
                ClusterSettings(
                    kubeconfig=str(settings.kubeconfig) if settings.kubeconfig else None, context=settings.context
                )
            )
        )
        await cluster.check_reachable()
        calls = await stack.enter_async_context(AgentCalls())
        yield Connections(
            temporal=await connect_temporal(settings, runtime),
            cluster=cluster,
            fleet=Fleet(config=config, cluster=cluster, calls=calls),
            gateway=await stack.enter_async_context(Gateway(config.platform)) if config.platform else None,
        )


async def connect_temporal(settings: WorkerSettings, runtime: Runtime | None = None) -> Client:
    """Connect by flags, environment and profile, in this order.

    Raises:
        RuntimeError: where Temporal cannot be reached or the profile does not exist.
    """
    options = ClientConfig.load_client_connect_config(profile=settings.temporal_profile)
    if settings.temporal_address:
        options["target_host"] = settings.temporal_address
    if settings.temporal_namespace:
        options["namespace"] = settings.temporal_namespace
    options.setdefault("target_host", "localhost:7233")
    return await Client.connect(**options, data_converter=pydantic_data_converter, runtime=runtime)


def sdk_runtime(metrics_address: str | None) -> Runtime:
    """The SDK's runtime; with an address (host:port) it serves its own metrics there."""
    metrics = PrometheusConfig(bind_address=metrics_address) if metrics_address else None
    return Runtime(telemetry=TelemetryConfig(metrics=metrics))


def create_activities(connections: Connections) -> list[Callable[..., Any]]:
    """All activities, each with the clients that it needs."""
    cluster, services = connections.cluster, ServicesInReach(connections.fleet)
    usage = ClosureUsage(cluster, connections.gateway)
    return [
        PlanUpdate(cluster, services, usage).run,
        RaiseFence(cluster).run,
        ShutDownApps(cluster, usage).run,
        CheckUnregistered(cluster, usage).run,
        StageRevisions(cluster).run,
        PrepareServices(cluster, services).run,
        PatchDefinitions(cluster).run,
        HoldCalls(cluster, services).run,
        CommitRelease(cluster, services).run,
        InvalidateServices(services).run,
        ReleaseCalls(services).run,
        VerifyServices(cluster, services).run,
        RevertRelease(cluster).run,
        RestoreDefinitions(cluster).run,
        AbortPrepared(services).run,
        RestoreApps(cluster, connections.gateway).run,
        FinishUpdate(cluster).run,
        AttestReplicas(cluster, services).run,
        FindDeadUpdates(connections.temporal, cluster, services).run,
        TakeOver(connections.temporal, cluster).run,
        AssessUpdate(cluster).run,
        WorkerRights(cluster).run,
    ]


def create_worker(
    connections: Connections,
    settings: WorkerSettings,
    interceptors: Sequence[Interceptor] = (),
) -> Worker:
    """The worker that hosts workflows and activities.

    Args:
        interceptors: the SDK's; tests let faults happen by them.
    """
    return Worker(
        connections.temporal,
        task_queue=settings.task_queue,
        workflows=WORKFLOWS,
        activities=create_activities(connections),
        identity=f"taskroll-worker {version('taskroll')} {os.getpid()}@{socket.gethostname()}",
        interceptors=[PhaseNotes(connections.cluster), *interceptors],
        sticky_queue_schedule_to_start_timeout=STICKY_TIMEOUT,
        graceful_shutdown_timeout=timedelta(seconds=settings.graceful_shutdown_timeout),
        max_heartbeat_throttle_interval=HEARTBEAT_THROTTLE,
        default_heartbeat_throttle_interval=HEARTBEAT_THROTTLE,
    )
