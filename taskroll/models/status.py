"""Where an update stands: what the workflow's queries answer, and what its record keeps."""

from datetime import datetime
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from .apps import StoppedApp
from .plan import PlanSummary

Phase = Literal[
    "planning",
    "awaiting-approval",
    "queued",
    "draining",
    "applying",
    "rolling-back",
    "recovering",
    "needs-operator",
    "ended",
]
"""Coarse: also the search attribute ``TaskrollPhase``, where an ended update shows its outcome.
``queued``: it stands in line behind an update that overlaps."""

Outcome = Literal["completed", "no_change", "rolled_back", "rejected", "needs_operator", "released"]
"""``released``: an operator took the fence down by hand and left what the update had done as it was."""

StepName = Literal[
    "plan",
    "approval",
    "fence",
    "shut-down-apps",
    "check",
    "stage",
    "prepare",
    "patch",
    "hold-calls",
    "commit",
    "invalidate",
    "release-calls",
    "verify",
    "revert-release",
    "restore-definitions",
    "abort-prepare",
    "take-over",
    "assess",
    "restore-apps",
    "finish",
]

StepState = Literal["running", "done", "failed", "cancelled"]


class _Status(BaseModel):
    model_config = ConfigDict(extra="forbid")


class Step(_Status):
    """One step of the saga, or of its compensation, in the order of their starts."""

    name: StepName
    started_at: datetime
    ended_at: datetime | None = None
    state: StepState = "running"
    detail: str = ""

    @property
    def seconds(self) -> float | None:
        """Duration; None while it runs."""
        return (self.ended_at - self.started_at).total_seconds() if self.ended_at else None


class Decision(_Status):
    """Who approved or rejected, why, and which plan they saw."""

    decision: Literal["approved", "rejected"]
    by: str
    reason: str
    plan_digest: str
    at: datetime


class UpdateStatus(_Status):
    """The answer to the workflow's ``status`` query, and the body of the endpoint's GET."""

    request_id: str
    namespace: str
    request_digest: str
    requested_by: str
    reason: str
    git_commit: str | None = None
    phase: Phase = "planning"
    outcome: Outcome | None = None
    message: str = ""
    """One sentence: what it waits for, or why it ended."""
    waiting_for: list[str] = Field(default_factory=list[str])
    """Whom it waits for: the updates ahead in line, what uses the closure, approvers."""
    plan: PlanSummary | None = None
    decisions: list[Decision] = Field(default_factory=list[Decision])
    epoch_before: int | None = None
    epoch: int | None = None
    """Epoch of the release that this update left in place; None where it committed none."""
    replicas: int | None = None
    """Replicas that attested the release at the end."""
    mixed_version_window_ms: float | None = None
    """From the first replica that flipped to the last, by the replicas' own clocks."""
    longest_pause_ms: float | None = None
    """With ``drain: live``, the longest that a call was held; None where none was held."""
    restored_byte_for_byte: bool | None = None
    """For an update taken back: whether each custom resource was compared and equals its former object."""
    apps: list[StoppedApp] = Field(default_factory=list[StoppedApp])
    """Apps that the update unregistered, in that order, and as what they came back."""
    started_at: datetime
    ended_at: datetime | None = None
    steps: list[Step] = Field(default_factory=list[Step])

    @property
    def is_settled(self) -> bool:
        """True where it ended or waits for an operator."""
        return self.outcome is not None
