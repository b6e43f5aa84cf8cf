"""One update of task definitions, as a saga: every service on the new release, or all of them on the former one."""

import asyncio
from collections.abc import Awaitable
from datetime import timedelta
from typing import Literal

from temporalio import workflow
from temporalio.common import RetryPolicy
from temporalio.exceptions import ApplicationError

with workflow.unsafe.imports_passed_through():
    from activities.assess_update import AssessUpdate
    from activities.finish_update import FinishUpdate
    from taskroll.models.decision import AbortInput, DecisionInput, ReleaseInput, ResumeInput, Vote
    from taskroll.models.errors import (
        FenceNotEnforced,
        InvalidRequest,
        InvalidSource,
        RefusedByCluster,
        TakenOver,
        UnknownRelease,
        WrongPhase,
    )
    from taskroll.models.plan import PlanSummary
    from taskroll.models.recovery import Assessment
    from taskroll.models.request import UpdateInput
    from taskroll.models.status import Decision, Outcome, Step, UpdateStatus
    from taskroll.models.steps import (
        FinishInput,
    )
    from taskroll.models.wording import counted

from .compensations import failure_message, is_taken_over
from .saga_steps import ASSESS_BUDGET, GRACE, HEARTBEAT, RETRY, SagaSteps
from .shielding import cancelled_when, shielded

FINISH_RETRY = RetryPolicy(initial_interval=timedelta(milliseconds=500), maximum_interval=timedelta(seconds=30))

REJECTING_CODES = {
    FenceNotEnforced.code,
    InvalidRequest.code,
    InvalidSource.code,
    RefusedByCluster.code,
    UnknownRelease.code,
}
"""Failures of the plan that mean: the request is wrong. Nothing had been touched."""

UNNAMED = "somebody who gave no name"

ENDS_AS_RECORDED = "ends-as-recorded"
"""Patch: a workflow that is not the one to act looks how the update ended, where it just failed before."""


@workflow.defn(name="TaskUpdate")
class TaskUpdateWorkflow(SagaSteps):
    """The saga. `run` holds what the platform asks for; `_update` is the business, read top to bottom."""

    @workflow.init
    def __init__(self, request: UpdateInput) -> None:
        super().__init__(request)
        self._is_cancelled = False
        self._resume: ResumeInput | None = None
        self._release: ReleaseInput | None = None

    async def _update(self) -> Outcome:
        while True:
            plan = await self._plan()
            if plan.is_empty:
                return "no_change"
            if not await self._approve(plan):
                return "rejected"
            if await self._raise_fence(plan):
                break
        if not self._is_live:
            await self._check_unregistered(plan, await self._shut_down_apps(plan))
        await self._stage(plan)
        await self._prepare(plan)
        await self._patch(plan)
        if self._is_live:
            await self._hold(plan)
        release = await self._commit(plan)
        told = await self._invalidate(plan, release)
        # A replica that was not told may still run the former classes: calls wait until verify has found it.
        if self._is_live and not told.untold:
            await self._release_calls(plan)
        await self._verify(plan, release)
        if self._is_live and told.untold:
            await self._release_calls(plan)
        return "completed"

    @workflow.run
    async def run(self, request: UpdateInput) -> UpdateStatus:
        return await self._or_as_recorded(self._run())

    async def _run(self) -> UpdateStatus:
        failure: BaseException | None = None
        try:
            outcome = await cancelled_when(lambda: self._abort is not None or bool(self._superseded), self._update())
        except (Exception, asyncio.CancelledError) as error:
            # Anything else is a bug: it must not roll back, but leave the workflow task failing for a fixed worker.
            if not (isinstance(error, asyncio.CancelledError) or workflow.is_failure_exception(error)):
                raise
            self._raise_if_superseded()
            if is_taken_over(error):
                # A recovery finishes the update, or has: whatever this workflow did now would be one writer too many.
                raise
            failure = error
            outcome = self._outcome_of(error)
        await shielded(self._settle(outcome))
        await workflow.wait_condition(workflow.all_handlers_finished)
        if self._status.outcome == "rolled_back":
            if self._is_cancelled:
                raise asyncio.CancelledError(self._status.message)
            raise ApplicationError(self._status.message, type="RolledBack", non_retryable=True) from failure
        return self._status.model_copy(update={"plan": None})

    async def _or_as_recorded(self, body: Awaitable[UpdateStatus]) -> UpdateStatus:
        """Await the body; where somebody else has ended the update meanwhile, end as the record says they did.

        That is so where a recovery was faster, and where Temporal has this workflow again from an old back-up.
        """
        try:
            return await body
        except Exception as error:
            if not is_taken_over(error) or not workflow.patched(ENDS_AS_RECORDED):
                raise
            found = await shielded(self._look())
            if not found.is_sealed or found.recorded is None:
                raise
            ended = self._board.status = found.recorded
            self._board.show(ended.outcome or ended.phase)
            if ended.outcome == "rolled_back":
                raise ApplicationError(ended.message, type="RolledBack", non_retryable=True) from error
            return ended

    async def _look(self) -> Assessment:
        return await workflow.execute_activity_method(
            AssessUpdate.run,
            self._ref,
            schedule_to_close_timeout=ASSESS_BUDGET + GRACE,
            heartbeat_timeout=HEARTBEAT,
            retry_policy=RETRY,
            summary="how the update ended",
        )

    def _raise_if_superseded(self) -> None:
        if self._superseded:
            raise ApplicationError(self._superseded, type=TakenOver.code, non_retryable=True)

    # What people say to a running update. A signal without input would fail the workflow task for good if its handler
    # required one. An approval without a name counts for nothing; stopping in need must work all the same.

    @workflow.signal
    def approve(self, vote: Vote | None = None) -> None:
        self._vote("approved", vote)

    @workflow.signal
    def reject(self, vote: Vote | None = None) -> None:
        self._vote("rejected", vote)

    def _vote(self, decision: Literal["approved", "rejected"], vote: Vote | None) -> None:
        if vote is not None:
            self._approval.take(DecisionInput(decision=decision, **vote.model_dump()), workflow.now())

    @workflow.update
    def decide(self, wish: DecisionInput) -> Decision:
        decision = self._approval.take(wish, workflow.now())
        if decision is None:
            raise ApplicationError(self._approval.objection(wish) or "not taken", type="WrongPhase")
        return decision

    @decide.validator
    def validate_decision(self, wish: DecisionInput) -> None:
        self._approval.validate(wish)

    @workflow.signal
    def abort(self, wish: AbortInput | None = None) -> None:
        self._abort = self._abort or wish or AbortInput(by=UNNAMED)

    @workflow.signal
    def resume(self, wish: ResumeInput | None = None) -> None:
        if self._status.outcome == "needs_operator":
            self._resume = wish or ResumeInput(by=UNNAMED)

    @workflow.signal
    def superseded(self, why: str = "") -> None:
        """From the reconciler: the cluster says that the update is over, or further than this workflow knows."""
        self._superseded = why or "the update is over"

    @workflow.update
    def release_fence(self, wish: ReleaseInput) -> None:
        self._release = wish
        self._status.outcome = None

    @release_fence.validator
    def validate_release(self, wish: ReleaseInput) -> None:
        if self._status.outcome != "needs_operator":
            raise ApplicationError(
                f"the update is not parked, it is {self._status.outcome or self._status.phase}: abort it, or wait",
                type=WrongPhase.code,
            )

    @workflow.signal
    def still_in_use(self, uses: list[str] | None = None) -> None:
        """What the step that drains sees; from the activity, for the web UI."""
        if self._status.phase == "draining" and uses:
            self._board.wait_for(uses, f"waits for {counted(len(uses), 'use')} of the definitions to end")

    @workflow.query
    def status(self) -> UpdateStatus:
        return self._status

    @workflow.query
    def plan(self) -> PlanSummary | None:
        return self._status.plan

    @workflow.query
    def timeline(self) -> list[Step]:
        return self._status.steps

    def _how_it_ended(self, outcome: Outcome) -> str:
        said = [self._status.message or _MESSAGES[outcome]]
        stopped = [str(app) for app in self._status.apps if app.restored_as is None]
        if stopped:
            said.append(f"apps: {', '.join(stopped)}")
        if self._apps_failure:
            said.append(f"apps that were stopped could not be looked after: {self._apps_failure}")
        return "; ".join(said)

    # How an update ends.

    async def _settle(self, outcome: Outcome) -> None:
        """Take back what is registered, unless the update is through, and finish; park it where that fails."""
        while True:
            self._compensating_until = workflow.time() + self._policy.rollback_timeout
            failed: dict[str, str] = {}
            if outcome in ("completed", "released"):
                self._compensations.clear()
            elif outcome == "rolled_back":
                self._board.enter("rolling-back", self._status.message)
                failed = await self._compensations.run()
            if not failed:
                try:
                    await self._look_after_apps()
                    await self._finish(outcome)
                    return
                except Exception as error:
                    if not workflow.is_failure_exception(error) or is_taken_over(error):
                        raise
                    failed = {"finish": failure_message(error)}
            await self._park(failed)
            if self._release is not None:
                outcome = "released"

    async def _finish(self, outcome: Outcome) -> None:
        ended = self._status.model_copy(
            update={
                "outcome": outcome,
                "phase": "ended",
                "ended_at": workflow.now(),
                "message": self._how_it_ended(outcome),
                "waiting_for": [],
                "plan": None,
            }
        )
        ended = await self._record(ended, keep_fence=False) or ended
        self._board.status = ended.model_copy(update={"plan": self._status.plan})
        self._board.show(ended.outcome or outcome)

    async def _park(self, failed: dict[str, str]) -> None:
        """«Needs operator»: the fence stays up until somebody resumes."""
        reasons = "; ".join(f"{name}: {message}" for name, message in failed.items())
        self._resume = self._release = None
        cause = self._status.message
        self._status.outcome = "needs_operator"
        self._status.message = (
            f"{self._status.message or 'the update'}; could not be finished: {reasons}. The fence stays up. "
            f"When the cause is gone: taskroll resume {self._request.request_id}"
        )
        self._board.enter("needs-operator", self._status.message)
        workflow.logger.error("update needs an operator", extra={"request_id": self._request.request_id})
        try:
            await self._record(self._status.model_copy(update={"plan": None}), keep_fence=True)
        except Exception as error:
            if not workflow.is_failure_exception(error):
                raise
            workflow.logger.error("the record could not be written: %s", failure_message(error))
        await workflow.wait_condition(
            lambda: self._resume is not None or self._release is not None or bool(self._superseded)
        )
        self._raise_if_superseded()
        self._status.outcome = None
        if self._release is not None:
            self._status.message = released_by(self._release)
        elif self._resume is not None:
            self._status.message = "; ".join(filter(None, [cause, f"resumed by {self._resume.by}"]))

    async def _record(self, status: UpdateStatus, *, keep_fence: bool) -> UpdateStatus | None:
        """Write the record; return how the update had ended, where it had before."""
        plan = self._status.plan.name if self._status.plan else None
        finish = FinishInput(**self._ref.model_dump(), status=status, plan=plan, keep_fence=keep_fence)
        return await workflow.execute_activity_method(
            FinishUpdate.run,
            finish,
            start_to_close_timeout=timedelta(minutes=2),
            heartbeat_timeout=HEARTBEAT,
            retry_policy=FINISH_RETRY,
            cancellation_type=workflow.ActivityCancellationType.WAIT_CANCELLATION_COMPLETED,
            summary="record; the fence stays up" if keep_fence else "lower the fence, seal the record",
        )

    def _outcome_of(self, error: BaseException) -> Outcome:
        if self._abort is not None:
            self._status.message = f"aborted by {self._abort.by}: {self._abort.reason or '(no reason given)'}"
            return "rolled_back"
        if workflow.cancellation_reason() is not None:
            self._is_cancelled = True
            self._status.message = f"cancelled: {workflow.cancellation_reason() or '(no reason given)'}"
            return "rolled_back"
        self._status.message = failure_message(error)
        cause = error.__cause__
        if (
            isinstance(cause, ApplicationError)
            and cause.type in REJECTING_CODES
            and [step.name for step in self._status.steps][-1] == "plan"
        ):
            return "rejected"
        return "rolled_back"


_MESSAGES: dict[Outcome, str] = {
    "completed": "every replica attests the new release",
    "no_change": "what is live is already what was asked for",
    "rolled_back": "all is as it was before",
    "rejected": "rejected",
    "needs_operator": "",
    "released": "",
}


def released_by(wish: ReleaseInput) -> str:
    """What the record says of a fence that was taken down by hand."""
    return f"fence released by {wish.by}: {wish.reason}. What the update had done was left as it was"
