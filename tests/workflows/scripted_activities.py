"""Activities that do as the test says, for branches of the workflow that need no cluster.

Their real counterparts run in `tests/saga`; here only the workflow's own decisions are looked at.
"""

from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from temporalio import activity
from temporalio.exceptions import ApplicationError

from taskroll.models.plan import PlanSummary, ServiceExtent
from taskroll.models.recovery import Assessment
from taskroll.models.steps import (
    AbortPrepareResult,
    CheckInput,
    CheckResult,
    CommitResult,
    FenceInput,
    FenceResult,
    FinishInput,
    InvalidateResult,
    PatchResult,
    PlanInput,
    PlannedStep,
    PrepareResult,
    ReleaseStep,
    RestoreResult,
    RevertResult,
    RevertStep,
    StageResult,
    UpdateRef,
    VerifyResult,
)

DIGEST = "sha256:" + "1" * 64
NEW = CommitResult(epoch=2, release="taskroll-release-000002-r", content_digest=DIGEST, previous_epoch=1)
FORMER = CommitResult(epoch=3, release="taskroll-release-000003-r", content_digest=DIGEST, previous_epoch=2)


@dataclass
class Script:
    """Answers of the activities, by name; each may be overridden by a list of results or errors, taken in turn."""

    turns: dict[str, list[Any]] = field(default_factory=lambda: defaultdict(list))
    calls: list[str] = field(default_factory=list)
    finished: list[FinishInput] = field(default_factory=list)

    def play(self, name: str, *turns: Any) -> None:
        self.turns[name] += turns

    def fail(self, name: str, code: str = "Scripted") -> None:
        self.play(name, ApplicationError(f"{name} fails", type=code, non_retryable=True))

    def _answer(self, name: str, usual: Any) -> Any:
        self.calls.append(name)
        answer = self.turns[name].pop(0) if self.turns[name] else usual
        if isinstance(answer, BaseException):
            raise answer
        return answer

    def plan_summary(self, number: int, *, empty: bool = False) -> PlanSummary:
        return PlanSummary(
            name=f"taskroll-plan-r-{number}",
            number=number,
            digest=f"sha256:{number:064d}",
            base_epoch=1,
            create=[],
            change=[] if empty else ["TaskDefinition/a-task"],
            delete=[],
            closure=1,
            services=[ServiceExtent(name="gateway", strategy="agent", replicas=2)],
            instances=[],
            warnings=[],
        )

    def activities(self) -> list[Callable[..., Any]]:
        @activity.defn(name="plan")
        async def plan(step: PlanInput) -> PlanSummary:
            return self._answer("plan", self.plan_summary(step.number))

        @activity.defn(name="fence")
        async def fence(step: FenceInput) -> FenceResult:
            return self._answer("fence", FenceResult(held=True))

        @activity.defn(name="check")
        async def check(step: CheckInput) -> CheckResult:
            return self._answer("check", CheckResult(waited_for=0))

        @activity.defn(name="stage")
        async def stage(step: PlannedStep) -> StageResult:
            return self._answer("stage", StageResult(revisions=1))

        @activity.defn(name="prepare")
        async def prepare(step: PlannedStep) -> PrepareResult:
            return self._answer("prepare", PrepareResult(replicas=2))

        @activity.defn(name="patch")
        async def patch(step: PlannedStep) -> PatchResult:
            return self._answer("patch", PatchResult(written=1, already=0))

        @activity.defn(name="commit")
        async def commit(step: PlannedStep) -> CommitResult:
            return self._answer("commit", NEW)

        @activity.defn(name="invalidate")
        async def invalidate(step: ReleaseStep) -> InvalidateResult:
            return self._answer("invalidate", InvalidateResult(replicas=2, already_active=0))

        @activity.defn(name="verify")
        async def verify(step: ReleaseStep) -> VerifyResult:
            return self._answer("verify", VerifyResult(replicas=2, mixed_version_window_ms=1.0))

        @activity.defn(name="revert-release")
        async def revert(step: RevertStep) -> RevertResult:
            return self._answer("revert-release", RevertResult(committed=FORMER))

        @activity.defn(name="restore-definitions")
        async def restore(step: PlannedStep) -> RestoreResult:
            return self._answer("restore-definitions", RestoreResult(restored=1, byte_for_byte=True))

        @activity.defn(name="abort-prepare")
        async def abort(step: PlannedStep) -> AbortPrepareResult:
            return self._answer("abort-prepare", AbortPrepareResult(dropped=2, unreachable=0))

        @activity.defn(name="finish")
        async def finish(step: FinishInput) -> None:
            self.finished.append(step)
            self._answer("finish", None)

        @activity.defn(name="assess")
        async def assess(step: UpdateRef) -> Assessment:
            return self._answer("assess", Assessment())

        return [
            plan, fence, check, stage, prepare, patch, commit, invalidate, verify, revert, restore, abort, finish,
            assess,
        ]  # fmt: skip
