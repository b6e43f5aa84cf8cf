"""Workflows with something changed in them, to see that the change is noticed."""

from collections.abc import Awaitable

from temporalio import workflow

from taskroll.models.plan import PlanSummary
from taskroll.models.recovery import Assessment, ReconcileInput, ReconcileReport, RecoveryInput
from taskroll.models.request import UpdateInput
from taskroll.models.status import UpdateStatus
from workflows.reconcile import TaskReconcileWorkflow
from workflows.task_recovery import TaskRecoveryWorkflow
from workflows.task_update import TaskUpdateWorkflow


@workflow.defn(name="TaskUpdate", sandboxed=False)
class WithBug(TaskUpdateWorkflow):
    """Runs into a bug where it should stage."""

    @workflow.init
    def __init__(self, request: UpdateInput) -> None:
        super().__init__(request)

    @workflow.run
    async def run(self, request: UpdateInput) -> UpdateStatus:
        return await super().run(request)

    async def _stage(self, plan: PlanSummary) -> None:
        raise KeyError("a bug")


@workflow.defn(name="TaskUpdate", sandboxed=False)
class WithoutStage(TaskUpdateWorkflow):
    """Leaves a step out."""

    @workflow.init
    def __init__(self, request: UpdateInput) -> None:
        super().__init__(request)

    @workflow.run
    async def run(self, request: UpdateInput) -> UpdateStatus:
        return await super().run(request)

    async def _stage(self, plan: PlanSummary) -> None:
        return


@workflow.defn(name="TaskUpdate", sandboxed=False)
class FailsWhereTakenOver(TaskUpdateWorkflow):
    """As it was before it looked how somebody else had ended the update."""

    @workflow.init
    def __init__(self, request: UpdateInput) -> None:
        super().__init__(request)

    @workflow.run
    async def run(self, request: UpdateInput) -> UpdateStatus:
        return await super().run(request)

    async def _or_as_recorded(self, body: Awaitable[UpdateStatus]) -> UpdateStatus:
        return await body


@workflow.defn(name="TaskRecovery", sandboxed=False)
class WithoutAssessment(TaskRecoveryWorkflow):
    """Does not look how far the update had come."""

    @workflow.init
    def __init__(self, request: RecoveryInput) -> None:
        super().__init__(request)

    @workflow.run
    async def run(self, request: RecoveryInput) -> UpdateStatus:
        return await super().run(request)

    async def _assess(self) -> Assessment:
        return Assessment()


@workflow.defn(name="TaskReconcile", sandboxed=False)
class FindsNobody(TaskReconcileWorkflow):
    """Starts no recovery."""

    @workflow.run
    async def run(self, request: ReconcileInput) -> ReconcileReport:
        return ReconcileReport(namespace=request.namespace)
