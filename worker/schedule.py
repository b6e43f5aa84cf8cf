"""The Temporal Schedules that run the reconciler, one for each namespace that the worker looks after."""

from datetime import timedelta

import structlog
from temporalio.client import (
    Client,
    Schedule,
    ScheduleActionStartWorkflow,
    ScheduleAlreadyRunningError,
    ScheduleIntervalSpec,
    ScheduleOverlapPolicy,
    SchedulePolicy,
    ScheduleSpec,
    ScheduleUpdate,
    ScheduleUpdateInput,
)
from temporalio.service import RPCError

from taskroll.models.names import reconcile_workflow_id
from taskroll.models.recovery import ReconcileInput

from .settings import WorkerSettings

CATCH_UP = timedelta(seconds=10)
"""Rounds that were missed while Temporal was away are not made up for; this is the least that Temporal takes."""

log = structlog.stdlib.get_logger("taskroll.worker")


async def keep_schedules(temporal: Client, settings: WorkerSettings) -> None:
    """Create the schedules, or bring them to what the settings say. One that somebody paused stays paused.

    Where Temporal refuses, that is logged: updates work without it, and what a dead one left stays until somebody
    runs ``taskroll reconcile``.
    """
    for namespace in settings.reconcile_namespaces if settings.reconcile_interval else ():
        try:
            await _keep(temporal, namespace, settings)
        except RPCError as error:
            log.error("the reconciler's schedule could not be kept", namespace=namespace, error=error.message)


async def _keep(temporal: Client, namespace: str, settings: WorkerSettings) -> None:
    name = reconcile_workflow_id(namespace)
    schedule = Schedule(
        action=ScheduleActionStartWorkflow(
            "TaskReconcile",
            ReconcileInput(namespace=namespace),
            id=name,
            task_queue=settings.task_queue,
            static_summary=f"looks for updates in {namespace} whose workflow is gone",
        ),
        spec=ScheduleSpec(intervals=[ScheduleIntervalSpec(every=timedelta(seconds=settings.reconcile_interval))]),
        policy=SchedulePolicy(overlap=ScheduleOverlapPolicy.SKIP, catchup_window=CATCH_UP),
    )

    def renew(known: ScheduleUpdateInput) -> ScheduleUpdate:
        schedule.state = known.description.schedule.state
        return ScheduleUpdate(schedule)

    try:
        await temporal.create_schedule(name, schedule)
    except ScheduleAlreadyRunningError:
        await temporal.get_schedule_handle(name).update(renew)
