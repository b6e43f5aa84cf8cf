"""The saga with something changed in it, to see that the change is noticed."""

from temporalio import workflow

from taskroll.models.plan import PlanSummary
from taskroll.models.request import UpdateInput
from taskroll.models.status import UpdateStatus
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
