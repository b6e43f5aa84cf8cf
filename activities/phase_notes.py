"""What the record of an update says while a step runs: its phase and the step, for whoever looks with kubectl."""

import asyncio
from typing import Any, cast

from temporalio import activity
from temporalio.worker import ActivityInboundInterceptor, ExecuteActivityInput, Interceptor

from taskroll.cluster.connection import Cluster
from taskroll.cluster.records import note_step
from taskroll.models.errors import TaskrollError
from taskroll.models.status import StepName
from taskroll.models.steps import UpdateRef

from .step import log

NOTED_AFTER = 0.25
"""Seconds that a step runs before it is noted: what is over sooner nobody sees, and costs no request."""
LAST_NOTE = 1.0
"""Seconds that a step which is over waits for its note under way, so that it does not come after the next step's."""


class PhaseNotes(Interceptor):
    """Notes each step that takes its time in the update's record, beside the step.

    The record is information: a note that cannot be written holds up nothing and fails nothing.
    """

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster

    def intercept_activity(self, next: ActivityInboundInterceptor) -> ActivityInboundInterceptor:
        return _NotedActivity(next, self._cluster)


class _NotedActivity(ActivityInboundInterceptor):
    def __init__(self, next: ActivityInboundInterceptor, cluster: Cluster) -> None:
        super().__init__(next)
        self._cluster = cluster

    async def execute_activity(self, input: ExecuteActivityInput) -> Any:
        ref = input.args[0] if input.args else None
        # The plan writes the record by itself, with what comes after it: a note beside that would be the older one.
        if not isinstance(ref, UpdateRef) or ref.phase in (None, "planning"):
            return await super().execute_activity(input)
        is_over = asyncio.Event()
        note = asyncio.create_task(self._note(ref, is_over))
        try:
            return await super().execute_activity(input)
        finally:
            is_over.set()
            await asyncio.wait({note}, timeout=LAST_NOTE)
            note.cancel()

    async def _note(self, ref: UpdateRef, is_over: asyncio.Event) -> None:
        try:
            async with asyncio.timeout(NOTED_AFTER):
                await is_over.wait()
            return
        except TimeoutError:
            pass
        step = cast(StepName, activity.info().activity_type)
        assert ref.phase is not None
        try:
            await note_step(self._cluster, ref.namespace, ref.request_id, ref.phase, step)
        except TaskrollError as error:
            log.warning("the record does not follow", step=step, error=error.message)
