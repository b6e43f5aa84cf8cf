"""The reconciler in tests: a schedule with a short interval, or a round at once; and waiting for what it started."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

from temporalio.service import RPCError, RPCStatusCode

from taskroll.models.names import reconcile_workflow_id, recovery_workflow_id
from taskroll.models.recovery import ReconcileInput, ReconcileReport
from worker.schedule import keep_schedules
from worker.settings import WorkerSettings

from .world import World


async def reconcile(world: World, name: str = "by-hand") -> ReconcileReport:
    """One round, now."""
    return await world.temporal.execute_workflow(
        "TaskReconcile",
        ReconcileInput(namespace=world.namespace),
        id=f"{reconcile_workflow_id(world.namespace)}/{name}",
        task_queue=world.task_queue,
        result_type=ReconcileReport,
    )


async def recovered(world: World, request_id: str) -> None:
    """Wait until the recovery of an update has ended."""
    await world.temporal.get_workflow_handle(recovery_workflow_id(world.namespace, request_id)).result()


async def has_recovery(world: World, request_id: str) -> bool:
    """Whether there ever was a recovery of that update."""
    try:
        await world.temporal.get_workflow_handle(recovery_workflow_id(world.namespace, request_id)).describe()
    except RPCError as error:
        if error.status != RPCStatusCode.NOT_FOUND:
            raise
        return False
    return True


@asynccontextmanager
async def scheduled(world: World, interval: float) -> AsyncGenerator[None]:
    """The reconciler runs each `interval` seconds, by the schedule that a worker keeps."""
    settings = WorkerSettings(
        task_queue=world.task_queue, reconcile_namespaces=(world.namespace,), reconcile_interval=interval
    )
    await keep_schedules(world.temporal, settings)
    try:
        yield
    finally:
        await world.temporal.get_schedule_handle(reconcile_workflow_id(world.namespace)).delete()
