"""The steps of the saga and their compensations: one method each, one activity each, all of them shown and bounded."""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Any, TypeVar

from temporalio import workflow
from temporalio.common import RetryPolicy
from temporalio.exceptions import ApplicationError

with workflow.unsafe.imports_passed_through():
    from activities.abort_prepared import AbortPrepared
    from activities.check_unregistered import CheckUnregistered
    from activities.commit_release import CommitRelease
    from activities.hold_calls import HoldCalls
    from activities.invalidate_services import InvalidateServices
    from activities.patch_definitions import PatchDefinitions
    from activities.plan_update import PlanUpdate
    from activities.prepare_services import PrepareServices
    from activities.raise_fence import RaiseFence
    from activities.release_calls import ReleaseCalls
    from activities.restore_apps import RestoreApps
    from activities.restore_definitions import RestoreDefinitions
    from activities.revert_release import RevertRelease
    from activities.shut_down_apps import ShutDownApps
    from activities.stage_revisions import StageRevisions
    from activities.verify_services import VerifyServices
    from taskroll.models.decision import AbortInput
    from taskroll.models.names import workflow_id
    from taskroll.models.plan import PlanSummary
    from taskroll.models.request import UpdateInput
    from taskroll.models.status import StepName, UpdateStatus
    from taskroll.models.steps import (
        CheckInput,
        CommitResult,
        FenceInput,
        FenceResult,
        HoldInput,
        HoldResult,
        InvalidateResult,
        PatchInput,
        PlanInput,
        PlannedStep,
        ReleaseStep,
        RestoreAppsInput,
        RevertStep,
        ShutDownInput,
        StepResult,
        UpdateRef,
    )
    from taskroll.models.wording import counted

from .approval import Approval
from .compensations import Compensations, failure_message
from .status_board import StatusBoard

# How long steps may take that no policy of the request bounds, and how activities are retried. Retries are without a
# count: what bounds a step is its budget, so that a worker or an API server that is away for a while costs no update.
PLAN_BUDGET = timedelta(minutes=10)
STAGE_BUDGET = timedelta(minutes=10)
PATCH_BUDGET = timedelta(minutes=10)
HOLD_BUDGET = timedelta(minutes=1)
"""On top of the time that calls in flight have."""
HOLD_EXPIRES = timedelta(seconds=30)
"""On top of that time too: then the replicas let go by themselves, if no worker is there to tell them."""
HOLD_LEFT = timedelta(seconds=5)
"""A hold with less time than this is renewed before the commit."""
COMMIT_BUDGET = timedelta(minutes=5)
RELEASE_BUDGET = timedelta(minutes=1)
INVALIDATE_BUDGET = timedelta(minutes=10)
ASSESS_BUDGET = timedelta(minutes=2)
REFUSE_BUDGET = timedelta(minutes=1)
"""For a gateway that does not answer, where the policy is not to wait for anybody."""
GRACE = timedelta(seconds=30)
"""An activity ends by its own budget and says why; the server's timer is only for one that no worker runs."""
HEARTBEAT = timedelta(seconds=5)
"""After a worker died, its activity is tried elsewhere when this has passed."""
RETRY = RetryPolicy(initial_interval=timedelta(milliseconds=200), maximum_interval=timedelta(seconds=10))
MAX_PLANS = 20
"""A plan is made again when the live state drifted; an update that meets a drift so often gives up."""

QUEUED_IS_A_PHASE = "queued-is-a-phase"
"""Patch: an update in line shows it as its phase."""

Result = TypeVar("Result", bound=StepResult)


class SagaSteps:
    """What an update is made of. Their order, and what follows a failure, is for the workflows derived from it."""

    def __init__(self, request: UpdateInput) -> None:
        self._request = request
        self._policy = request.policy
        self._ref = UpdateRef(
            namespace=request.namespace,
            request_id=request.request_id,
            workflow_id=workflow_id(request.namespace, request.request_id),
        )
        self._approval = Approval()
        self._compensations = Compensations()
        self._abort: AbortInput | None = None
        self._superseded = ""
        self._may_have_stopped_apps = False
        self._apps_failure = ""
        self._compensating_until: float | None = None
        self._board = StatusBoard(
            UpdateStatus(
                request_id=request.request_id,
                namespace=request.namespace,
                request_digest=request.request_digest,
                requested_by=request.requested_by,
                reason=request.reason,
                git_commit=request.git_commit,
                started_at=workflow.now(),
            )
        )
        self._status.decisions = self._approval.decisions

    @property
    def _status(self) -> UpdateStatus:
        return self._board.status

    @property
    def _is_live(self) -> bool:
        return self._policy.drain == "live"

    # The steps, in their order.

    async def _plan(self) -> PlanSummary:
        number = self._status.plan.number + 1 if self._status.plan else 1
        if number > MAX_PLANS:
            raise ApplicationError(
                f"the live definitions changed under {MAX_PLANS} plans in a row; find out who else writes them",
                type="ForeignWrite",
                non_retryable=True,
            )
        self._board.enter("planning")
        plan = await self._step(
            "plan",
            PlanUpdate.run,
            PlanInput(
                **self._ref.model_dump(),
                request_digest=self._request.request_digest,
                number=number,
                started_at=self._status.started_at,
            ),
            PLAN_BUDGET,
        )
        self._status.plan = plan
        self._status.epoch_before = plan.base_epoch
        return plan

    async def _approve(self, plan: PlanSummary) -> bool:
        if self._policy.approval == "none":
            return True
        self._approval.open(plan)
        self._board.enter(
            "awaiting-approval",
            f"waits for an approval of plan {plan.number} ({plan.digest[:19]}…)",
            waiting_for=[f"an approver: taskroll approve {self._request.request_id}"],
        )
        step = self._board.begin("approval")
        try:
            await workflow.wait_condition(
                lambda: self._approval.taken is not None,
                timeout=timedelta(seconds=self._policy.approval_timeout),
                timeout_summary="approval deadline",
            )
        except TimeoutError:
            self._board.end(step, "failed", "nobody decided in time")
            self._status.message = f"nobody approved or rejected it within {self._policy.approval_timeout:g} s"
            return False
        except asyncio.CancelledError:
            self._board.end(step, "cancelled")
            raise
        finally:
            self._status.waiting_for = []
        taken = self._approval.taken
        assert taken is not None
        self._board.end(step, "done", f"{taken.decision} by {taken.by}")
        if taken.decision == "rejected":
            self._status.message = f"rejected by {taken.by}: {taken.reason or '(no reason given)'}"
        return taken.decision == "approved"

    async def _raise_fence(self, plan: PlanSummary) -> bool:
        self._board.enter("draining")
        budget = timedelta(seconds=self._policy.fence_timeout)
        fence = FenceInput(
            **self._planned(plan, budget),
            wait=False,
            keep_on_drift=self._policy.approval == "none",
            require_enforced=self._policy.fence == "required",
        )
        result: FenceResult = await self._step("fence", RaiseFence.run, fence, budget)
        if not result.held and not result.drifted:
            self._stand_in_line([f"update {other}" for other in result.ahead])
            waiting = fence.model_copy(update={"wait": True})
            result = await self._step("fence", RaiseFence.run, waiting, budget)
            if result.held and self._status.phase == "queued":
                self._board.enter("draining")
        if self._policy.drain in ("wait", "shutdown") and result.instances:
            self._board.wait_for(
                [f"instance {instance}" for instance in result.instances],
                f"waits for {counted(len(result.instances), 'live instance')} to finish",
            )
        else:
            self._board.wait_for([])
        return not result.drifted

    def _stand_in_line(self, ahead: list[str]) -> None:
        message = "waits in line behind an overlapping update"
        if workflow.patched(QUEUED_IS_A_PHASE):
            self._board.enter("queued", message, waiting_for=ahead)
        else:
            self._board.wait_for(ahead, message)

    async def _shut_down_apps(self, plan: PlanSummary) -> timedelta:
        """Where the policy asks for it; return what is left of the time to drain."""
        budget = timedelta(seconds=self._policy.drain_timeout)
        if self._policy.drain == "refuse":
            return min(budget, REFUSE_BUDGET)
        if self._policy.drain == "shutdown":
            until = workflow.time() + self._policy.drain_timeout
            # Said before the first app is stopped: however the update ends, they are looked after.
            self._may_have_stopped_apps = True
            step = ShutDownInput(
                **self._planned(plan, budget), grace=self._policy.grace, restore=self._policy.restore_apps
            )
            result = await self._step("shut-down-apps", ShutDownApps.run, step, budget)
            self._status.apps = result.apps
            budget = timedelta(seconds=max(1.0, until - workflow.time()))
        return budget

    async def _check_unregistered(self, plan: PlanSummary, budget: timedelta) -> None:
        check = CheckInput(**self._planned(plan, budget), refuse=self._policy.drain == "refuse")
        await self._step("check", CheckUnregistered.run, check, budget)
        self._board.wait_for([])

    async def _stage(self, plan: PlanSummary) -> None:
        self._board.enter("applying")
        await self._step("stage", StageRevisions.run, self._planned_step(plan, STAGE_BUDGET), STAGE_BUDGET)

    async def _prepare(self, plan: PlanSummary) -> None:
        budget = timedelta(seconds=self._policy.prepare_timeout)
        self._compensations.register("abort-prepare", lambda: self._abort_prepared(plan))
        await self._step("prepare", PrepareServices.run, self._planned_step(plan, budget), budget)

    async def _patch(self, plan: PlanSummary) -> None:
        if plan.reads_definitions:
            self._compensations.register("take-back", lambda: self._take_back(plan))
        else:
            self._compensations.register("restore-definitions", lambda: self._restore_definitions(plan))
        patch = self._planned_step(plan, PATCH_BUDGET)
        if self._is_live:
            patch = PatchInput(**patch.model_dump(), instances_stay=True)
        await self._step("patch", PatchDefinitions.run, patch, PATCH_BUDGET)

    async def _hold(self, plan: PlanSummary) -> None:
        self._compensations.register("release-calls", lambda: self._release_calls(plan))
        held = await self._hold_once(plan)
        while workflow.now() > held.until - HOLD_LEFT:  # no worker was there for a while
            held = await self._hold_once(plan)

    async def _hold_once(self, plan: PlanSummary) -> HoldResult:
        seconds = timedelta(seconds=self._policy.live_timeout)
        budget = HOLD_BUDGET + seconds
        hold = HoldInput(
            **self._planned(plan, budget),
            seconds=seconds.total_seconds(),
            expires=(seconds + HOLD_EXPIRES).total_seconds(),
            cancel=self._policy.cancel_calls,
        )
        return await self._step("hold-calls", HoldCalls.run, hold, budget)

    async def _release_calls(self, plan: PlanSummary) -> None:
        released = await self._step(
            "release-calls", ReleaseCalls.run, self._planned_step(plan, RELEASE_BUDGET), RELEASE_BUDGET
        )
        if released.waited_calls:
            self._status.longest_pause_ms = max(self._status.longest_pause_ms or 0.0, released.longest_pause_ms)

    async def _commit(self, plan: PlanSummary) -> CommitResult:
        if not plan.reads_definitions:
            self._compensations.register("revert-release", lambda: self._revert_release(plan))
        release: CommitResult = await self._step(
            "commit", CommitRelease.run, self._planned_step(plan, COMMIT_BUDGET), COMMIT_BUDGET
        )
        self._status.epoch = release.epoch
        return release

    async def _invalidate(self, plan: PlanSummary, release: CommitResult, *, former: bool = False) -> InvalidateResult:
        budget = INVALIDATE_BUDGET + timedelta(seconds=plan.patience)
        step = self._release_step(plan, release, budget, former=former)
        return await self._step("invalidate", InvalidateServices.run, step, budget)

    async def _verify(self, plan: PlanSummary, release: CommitResult, *, former: bool = False) -> None:
        budget = self._compensation_budget() if former else timedelta(seconds=self._policy.verify_timeout)
        step = self._release_step(plan, release, budget, former=former)
        verified = await self._step("verify", VerifyServices.run, step, budget)
        self._status.replicas = verified.replicas
        self._status.mixed_version_window_ms = verified.mixed_version_window_ms
        if verified.unverified and not former:
            self._status.message = (
                f"every replica that can attest the new release does; not verified: {', '.join(verified.unverified)}"
            )

    # The compensations. Each does nothing where its step did nothing.

    async def _take_back(self, plan: PlanSummary) -> None:
        """Custom resources first, then the release: so a process that starts after the release has read these.

        One compensation and not two: told to go back to resources that could not be restored, a service that reads
        them would come up on neither release.
        """
        await self._restore_definitions(plan)
        await self._revert_release(plan)

    async def _revert_release(self, plan: PlanSummary) -> None:
        if self._is_live:
            try:
                await self._hold_once(plan)
            except Exception as error:
                # The services have to go back all the same; calls in flight may meet both versions then.
                if not workflow.is_failure_exception(error):
                    raise
        budget = self._compensation_budget()
        step = RevertStep(**self._planned(plan, budget), even_if_uncommitted=plan.reads_definitions)
        reverted = await self._step("revert-release", RevertRelease.run, step, budget)
        if reverted.committed is not None:
            self._status.epoch = reverted.committed.epoch
            await self._invalidate(plan, reverted.committed, former=True)
            await self._verify(plan, reverted.committed, former=True)

    async def _restore_definitions(self, plan: PlanSummary) -> None:
        budget = self._compensation_budget()
        restored = await self._step(
            "restore-definitions", RestoreDefinitions.run, self._planned_step(plan, budget), budget
        )
        self._status.restored_byte_for_byte = restored.byte_for_byte

    async def _abort_prepared(self, plan: PlanSummary) -> None:
        budget = self._compensation_budget()
        await self._step("abort-prepare", AbortPrepared.run, self._planned_step(plan, budget), budget)

    async def _look_after_apps(self) -> None:
        """Register the stopped apps again where the policy says so, once the update is through or taken back."""
        if not self._may_have_stopped_apps:
            return
        budget = timedelta(seconds=self._policy.rollback_timeout)
        step = RestoreAppsInput(
            **self._ref.model_dump(), restore=self._policy.restore_apps, budget=budget.total_seconds()
        )
        try:
            result = await self._step("restore-apps", RestoreApps.run, step, budget)
        except Exception as error:
            # The definitions are settled: what is left of the apps is for the record, not for a parked update.
            if not workflow.is_failure_exception(error):
                raise
            self._apps_failure = failure_message(error)
        else:
            self._status.apps = result.apps

    # What holds the steps together.

    async def _step(
        self,
        name: StepName,
        activity: Callable[[Any, Any], Awaitable[Result]],
        argument: UpdateRef,
        budget: timedelta,
    ) -> Result:
        """Run one activity as a step: shown, timed, and stopped by a cancel even where the activity completed."""
        step = self._board.begin(name)
        try:
            result: Result = await workflow.execute_activity_method(
                activity,
                argument.model_copy(update={"phase": self._status.phase}),
                schedule_to_close_timeout=budget + GRACE,
                heartbeat_timeout=HEARTBEAT,
                retry_policy=RETRY,
                cancellation_type=workflow.ActivityCancellationType.WAIT_CANCELLATION_COMPLETED,
                summary=_SUMMARIES[name],
            )
        except (Exception, asyncio.CancelledError) as error:
            cancelled = isinstance(error, asyncio.CancelledError) or self._is_stopped()
            self._board.end(step, "cancelled" if cancelled else "failed", failure_message(error))
            raise
        self._board.end(step, "done", result.in_words())
        if self._compensating_until is None and self._is_stopped():
            raise asyncio.CancelledError("stopped after step " + name)
        return result

    def _is_stopped(self) -> bool:
        return self._abort is not None or bool(self._superseded) or workflow.cancellation_reason() is not None

    def _compensation_budget(self) -> timedelta:
        assert self._compensating_until is not None
        return timedelta(seconds=max(1.0, self._compensating_until - workflow.time()))

    def _planned(self, plan: PlanSummary, budget: timedelta) -> dict[str, Any]:
        return {**self._ref.model_dump(), "plan": plan.name, "budget": budget.total_seconds()}

    def _planned_step(self, plan: PlanSummary, budget: timedelta) -> PlannedStep:
        return PlannedStep(**self._planned(plan, budget))

    def _release_step(
        self, plan: PlanSummary, release: CommitResult, budget: timedelta, *, former: bool
    ) -> ReleaseStep:
        return ReleaseStep(
            **self._planned(plan, budget),
            epoch=release.epoch,
            release=release.release,
            content_digest=release.content_digest,
            former=former,
        )


_SUMMARIES: dict[StepName, str] = {
    "plan": "compare, find the closure, check sources, dry run",
    "fence": "claim the closure, or stand in line",
    "shut-down-apps": "unregister the apps that use the closure",
    "check": "nothing uses the closure",
    "stage": "store the revisions that are missing",
    "prepare": "each replica loads the new classes beside the old",
    "patch": "write the custom resources",
    "hold-calls": "new calls to the closure wait, those in flight end",
    "commit": "move the release pointer",
    "invalidate": "each replica swaps its classes",
    "release-calls": "the held calls go on",
    "verify": "each replica attests what is live in it",
    "revert-release": "move the release pointer to the former definitions",
    "restore-definitions": "bring the former custom resources back",
    "abort-prepare": "drop the classes that were prepared",
    "take-over": "see that the workflow is gone, hold the fence for it",
    "assess": "how far the update had come",
    "restore-apps": "look after the apps that were stopped",
}
"""What the web UI shows beside each activity."""
