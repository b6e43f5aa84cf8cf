"""The lasting record of an update: what the ``TaskUpdate`` custom resource keeps after the workflow is gone."""

from datetime import datetime

from pydantic import BaseModel, ConfigDict, Field

from taskroll_agent.contracts import sha256_digest

from .apps import StoppedApp
from .status import Decision, Outcome, Phase, Step, StepName


class RecordedChange(BaseModel):
    """One definition of a record: its digests before and after."""

    model_config = ConfigDict(extra="forbid")

    definition: str
    action: str
    before: str | None = None
    after: str | None = None


class UpdateRecord(BaseModel):
    """Written by the saga: opened by the plan, brought up to date by its steps, sealed at the end."""

    model_config = ConfigDict(extra="forbid")

    request_id: str
    namespace: str
    request_digest: str
    workflow_id: str
    requested_by: str
    reason: str = ""
    git_commit: str | None = None
    git_dirty: bool | None = None
    origin: str = "update"
    target_release: int | None = None
    phase: Phase = "planning"
    step: StepName | None = None
    """The step that runs, where it has run for a moment; None in a sealed record."""
    outcome: Outcome | None = None
    message: str = ""
    plan: str | None = None
    """Name of the object that stores the plan."""
    changes: list[RecordedChange] = Field(default_factory=list[RecordedChange])
    decisions: list[Decision] = Field(default_factory=list[Decision])
    epoch_before: int | None = None
    epoch: int | None = None
    replicas: int | None = None
    mixed_version_window_ms: float | None = None
    longest_pause_ms: float | None = None
    restored_byte_for_byte: bool | None = None
    apps: list[StoppedApp] = Field(default_factory=list[StoppedApp])
    started_at: datetime
    ended_at: datetime | None = None
    steps: list[Step] = Field(default_factory=list[Step])
    previous_record: str | None = None
    """Request id of the record sealed before this one."""
    previous_digest: str | None = None
    """Its digest: the records of a namespace form a chain, so that a changed one is noticed."""

    def digest(self) -> str:
        """``sha256:…`` over the whole record."""
        # These fields came later: where one is absent, records that were sealed before keep the digest of their chain.
        absent = {name for name in ("longest_pause_ms", "step") if getattr(self, name) is None}
        return sha256_digest(self.model_dump(mode="json", exclude=absent))
