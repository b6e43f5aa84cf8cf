"""The end of an update whose own workflow is gone: taken back as the saga would, or completed if it had committed."""

import asyncio
from datetime import timedelta

from temporalio import workflow

with workflow.unsafe.imports_passed_through():
    from activities.assess_update import AssessUpdate
    from activities.take_over import TakeOver
    from taskroll.models.recovery import Assessment, RecoveryInput, TakeOverInput, TakeOverResult
    from taskroll.models.status import Outcome, UpdateStatus

from .compensations import failure_message, is_taken_over
from .saga_steps import ASSESS_BUDGET
from .shielding import shielded
from .task_update import TaskUpdateWorkflow, released_by

TAKE_OVER_BUDGET = timedelta(minutes=2)
LAST_WORDS = timedelta(seconds=3)
"""An activity of a workflow that is gone learns of it by its next heartbeat, a second later, and stops."""
TOKEN_LENGTH = 8
"""Characters of the run id. The field manager under which a recovery writes may have 128, and names the request too."""


@workflow.defn(name="TaskRecovery")
class TaskRecoveryWorkflow(TaskUpdateWorkflow):
    """Compensations, parking and the end of an update are the saga's own. It cannot be cancelled, nor aborted."""

    @workflow.init
    def __init__(self, request: RecoveryInput) -> None:
        super().__init__(request)
        self._cause = request.cause
        self._release = request.release
        self._ref = self._ref.model_copy(update={"recovery": workflow.info().run_id[:TOKEN_LENGTH]})

    @workflow.run
    async def run(  # pyright: ignore[reportIncompatibleMethodOverride] - nobody calls it through the base class
        self, request: RecoveryInput
    ) -> UpdateStatus:
        return await self._or_as_recorded(self._run())

    async def _run(self) -> UpdateStatus:
        await shielded(self._recover())
        await workflow.wait_condition(workflow.all_handlers_finished)
        return self._status.model_copy(update={"plan": None})

    async def _recover(self) -> None:
        # Set from the start: no cancel stops a step of this.
        self._compensating_until = workflow.time() + self._policy.rollback_timeout
        self._board.enter("recovering", self._cause)
        while True:
            try:
                taken = await self._take_over()
                if taken.is_alive:
                    self._status.message = "its own workflow runs; nothing was done"
                    return
                outcome = await self._outcome_after(taken, await self._assess())
                break
            except (Exception, asyncio.CancelledError) as error:
                if not workflow.is_failure_exception(error) or is_taken_over(error):
                    raise
                await self._park({"recovery": failure_message(error)})
        await self._settle(outcome)

    async def _take_over(self) -> TakeOverResult:
        step = TakeOverInput(
            **self._ref.model_dump(), since=workflow.info().start_time, budget=TAKE_OVER_BUDGET.total_seconds()
        )
        taken = await self._step("take-over", TakeOver.run, step, TAKE_OVER_BUDGET)
        if taken.is_held:
            await workflow.sleep(LAST_WORDS, summary="an activity under way learns that its workflow is gone")
        return taken

    async def _assess(self) -> Assessment:
        return await self._step("assess", AssessUpdate.run, self._ref, ASSESS_BUDGET)

    async def _outcome_after(self, taken: TakeOverResult, found: Assessment) -> Outcome:
        """What becomes of the update; registers the compensations for what has to be taken back."""
        if found.is_sealed and found.recorded and found.recorded.outcome:
            # Its fence is all that was left, if that.
            return found.recorded.outcome
        self._remember(taken.seen or found.recorded)
        self._may_have_stopped_apps = self._policy.drain == "shutdown"
        plan = self._status.plan = found.plan
        was_rolling_back = taken.seen is not None and taken.seen.phase == "rolling-back"
        if self._release is not None:
            self._status.message = f"{self._cause}; {released_by(self._release)}"
            return "released"
        if plan is None or plan.is_empty:
            self._status.message = f"{self._cause}; closed by the reconciler: nothing had been touched"
            return "rolled_back" if plan is None else "no_change"
        self._status.epoch_before = plan.base_epoch
        if found.committed and not found.is_reverted and not was_rolling_back and await self._is_complete(found):
            self._status.epoch = found.committed.epoch
            self._status.message = f"{self._cause}; completed by the reconciler: every replica attests the new release"
            return "completed"
        self._status.message = f"{self._cause}; taken back by the reconciler"
        if taken.is_held:
            if self._is_live:
                self._compensations.register("release-calls", lambda: self._release_calls(plan))
            self._compensations.register("abort-prepare", lambda: self._abort_prepared(plan))
            if plan.reads_definitions and (found.is_touched or found.committed):
                self._compensations.register("take-back", lambda: self._take_back(plan))
            elif found.is_touched:
                self._compensations.register("restore-definitions", lambda: self._restore_definitions(plan))
            if found.committed and not plan.reads_definitions:
                self._compensations.register("revert-release", lambda: self._revert_release(plan))
        return "rolled_back"

    async def _is_complete(self, found: Assessment) -> bool:
        """Whether every replica comes to attest what the update had committed."""
        plan, release = found.plan, found.committed
        assert plan is not None
        assert release is not None
        self._board.enter("applying", f"{self._cause}; had committed release {release.epoch}: completes it")
        try:
            await self._invalidate(plan, release)
            await self._verify(plan, release)
            if self._is_live:
                await self._release_calls(plan)
        except Exception as error:
            if not workflow.is_failure_exception(error) or is_taken_over(error):
                raise
            self._cause = f"{self._cause}; its release could not be completed: {failure_message(error)}"
            return False
        return True

    def _remember(self, seen: UpdateStatus | None) -> None:
        """Go on from what the workflow or the record last said: decisions and steps belong to the update."""
        if seen is None:
            return
        own = self._status
        cut_off = [
            step.model_copy(update={"state": "cancelled", "detail": "its workflow was gone before it ended"})
            if step.state == "running"
            else step
            for step in seen.steps
        ]
        self._board.status = own.model_copy(
            update={
                "started_at": seen.started_at,
                "decisions": seen.decisions,
                "epoch_before": seen.epoch_before,
                "epoch": seen.epoch,
                "steps": [*cut_off, *own.steps],
            }
        )
