"""Take over: from here on a recovery, and nobody else, writes for an update whose workflow is gone."""

from dataclasses import dataclass
from datetime import timedelta

from temporalio import activity
from temporalio.client import Client, WorkflowFailureError, WorkflowHandle, WorkflowQueryFailedError
from temporalio.service import RPCError

from taskroll.cluster.claim_definitions import claim_definitions
from taskroll.cluster.connection import Cluster
from taskroll.cluster.fence import take_over
from taskroll.cluster.fence_enforcement import await_enforcement
from taskroll.cluster.fence_state import Recovery
from taskroll.cluster.plans import find_last_plan
from taskroll.models.errors import RefusedByCluster
from taskroll.models.recovery import TakeOverInput, TakeOverResult
from taskroll.models.status import UpdateStatus

from .dead_workflow import fate_of
from .raise_fence import ENFORCED_WITHIN
from .step import log, running

QUERY_TIMEOUT = timedelta(seconds=5)
"""For the last status of the workflow that is gone: a worker replays its history for it."""


@dataclass
class TakeOver:
    temporal: Client
    cluster: Cluster

    @activity.defn(name="take-over")
    async def run(self, step: TakeOverInput) -> TakeOverResult:
        """Look whether the workflow is really gone; then hold the fence for the update.

        Raises:
            ApplicationError: ``TakenOver`` where a later recovery acts for it, ``TamperedState`` where the fence was
                edited by hand.
        """
        async with running("take-over", step) as progress:
            handle = self.temporal.get_workflow_handle(step.workflow_id)
            fate = await fate_of(handle)
            if fate.is_running:
                return TakeOverResult(is_alive=True)
            holder = await take_over(
                self.cluster, step.namespace, step.request_id, Recovery(token=step.recovery, since=step.since)
            )
            enforced = False
            if holder is not None:
                progress.note = "waits for the API server to refuse the former writer"
                enforced = await await_enforcement(
                    self.cluster, step.namespace, holder.probe_class, within=ENFORCED_WITHIN
                )
                progress.note = "marks what the update was to change"
                await self._claim(step)
            return TakeOverResult(
                is_held=holder is not None,
                is_enforced=enforced,
                seen=await _last_status(handle) if fate.has_history else None,
            )

    async def _claim(self, step: TakeOverInput) -> None:
        plan = await find_last_plan(self.cluster, step.namespace, step.request_id)
        if plan is None:
            return
        # What is adopted is never written: who edits it meanwhile is in nobody's way.
        changes = [change for change in plan.written() if change.action != "adopt"]
        try:
            await claim_definitions(
                self.cluster, step.namespace, changes, request_id=step.request_id, recovery=step.recovery
            )
        except RefusedByCluster as error:
            # It is a second guard: where it cannot be had, the API server's policies are the first.
            log.warning("definitions could not be marked for the recovery", error=error.message)


async def _last_status(handle: WorkflowHandle[object, object]) -> UpdateStatus | None:
    try:
        return await handle.query("status", result_type=UpdateStatus, rpc_timeout=QUERY_TIMEOUT)
    except (RPCError, WorkflowQueryFailedError, WorkflowFailureError) as error:
        log.warning("the last status of the workflow cannot be had", error=str(error))
        return None
