"""One round of the reconciler: find the updates whose workflow is gone, and have each finished by another workflow.

Rounds come from a Temporal Schedule, or by hand. That two of them never act on one update rests on the recovery's
workflow id, of which Temporal runs one at a time, and on the fence, which names the one recovery that may write.
"""

from datetime import timedelta

from temporalio import workflow
from temporalio.common import RetryPolicy, SearchAttributePair, TypedSearchAttributes
from temporalio.exceptions import WorkflowAlreadyStartedError

with workflow.unsafe.imports_passed_through():
    from activities.find_dead_updates import FindDeadUpdates
    from taskroll.models.names import recovery_workflow_id
    from taskroll.models.recovery import ReconcileInput, ReconcileReport, RecoveryInput

from .search_attributes import NAMESPACE, PHASE, REQUESTED_BY
from .task_recovery import TaskRecoveryWorkflow

FIND_TIMEOUT = timedelta(minutes=2)
HEARTBEAT = timedelta(seconds=5)
RETRY = RetryPolicy(initial_interval=timedelta(milliseconds=500), maximum_attempts=5)
"""A round that fails is no loss: the next one comes."""


@workflow.defn(name="TaskReconcile")
class TaskReconcileWorkflow:
    @workflow.run
    async def run(self, request: ReconcileInput) -> ReconcileReport:
        found = await workflow.execute_activity_method(
            FindDeadUpdates.run,
            request,
            start_to_close_timeout=FIND_TIMEOUT,
            heartbeat_timeout=HEARTBEAT,
            retry_policy=RETRY,
            summary="compare what is under way with the workflows that run",
        )
        report = ReconcileReport(
            namespace=request.namespace,
            parked=list(found.parked),
            live=found.live,
            dropped=found.dropped,
            superseded=list(found.superseded),
        )
        for dead in found.dead:
            (report.recovering if await _start_recovery(dead) else report.under_recovery).append(dead.request_id)
        return report


async def _start_recovery(dead: RecoveryInput) -> bool:
    """Start it; False where it runs already. It outlives the round."""
    try:
        await workflow.start_child_workflow(
            TaskRecoveryWorkflow.run,
            dead,
            id=recovery_workflow_id(dead.namespace, dead.request_id),
            parent_close_policy=workflow.ParentClosePolicy.ABANDON,
            search_attributes=TypedSearchAttributes(
                [
                    SearchAttributePair(PHASE, "recovering"),
                    SearchAttributePair(NAMESPACE, dead.namespace),
                    SearchAttributePair(REQUESTED_BY, dead.requested_by),
                ]
            ),
            static_summary=f"finishes update {dead.request_id}",
            static_details=f"Finishes update `{dead.request_id}` in namespace `{dead.namespace}`: {dead.cause}",
        )
    except WorkflowAlreadyStartedError:
        return False
    return True
