"""What the saga hands to each of its activities, and what comes back: references and counts, never sources."""

from datetime import datetime

from pydantic import BaseModel, ConfigDict, Field

from taskroll_agent.contracts.definition import Digest

from .status import UpdateStatus


class _Message(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class UpdateRef(_Message):
    """Which update a step belongs to."""

    namespace: str
    request_id: str
    workflow_id: str


class PlanInput(UpdateRef):
    request_digest: Digest
    number: int
    """Of the plan to make, from 1."""
    started_at: datetime
    """When the update began."""


class PlannedStep(UpdateRef):
    """Input of a step that carries out a plan."""

    plan: str
    """Name of the object that stores the plan."""
    budget: float = 60.0
    """Seconds that the step may take, counted from when it was first scheduled."""


class FenceInput(PlannedStep):
    wait: bool
    """False: take the fence or a place in line, and say which. True: stay in line until the fence is held."""
    keep_on_drift: bool
    """Whether to hold the fence while the plan is made again. Not where people have to approve that: they take days."""


class FenceResult(_Message):
    held: bool
    ahead: list[str] = Field(default_factory=list[str])
    """Request ids of the updates that come first."""
    drifted: bool = False
    """True where the live state is no longer the one that the plan was made from."""
    instances: list[str] = Field(default_factory=list[str])
    """A first look at the live instances of the closure, behind the fence."""


class CheckInput(PlannedStep):
    refuse: bool
    """End at once where an instance lives, instead of waiting."""


class CheckResult(_Message):
    waited_for: int
    """Instances that were seen alive before none was left."""


class StageResult(_Message):
    revisions: int
    """Revisions that were written; those that existed already are not counted."""


class PrepareResult(_Message):
    replicas: int


class PatchResult(_Message):
    written: int
    already: int
    """Changes that had been made before: the answer of an earlier attempt was lost."""


class CommitResult(_Message):
    epoch: int
    release: str
    content_digest: Digest
    previous_epoch: int


class RevertResult(_Message):
    """What the compensation of the commit found and did."""

    committed: CommitResult | None
    """The release with the former digests; None where the update had committed nothing."""


class RestoreResult(_Message):
    restored: int
    byte_for_byte: bool
    """Whether each custom resource was compared afterwards and equals its former object."""


class ReleaseStep(PlannedStep):
    """Input of the steps that bring replicas to a release."""

    epoch: int
    release: str
    content_digest: Digest
    former: bool = False
    """True in a compensation: the replicas go back to what they ran before."""


class InvalidateResult(_Message):
    replicas: int
    already_active: int
    """Replicas that had flipped by themselves, on seeing the release pointer move."""


class VerifyResult(_Message):
    replicas: int
    mixed_version_window_ms: float | None


class AbortPrepareResult(_Message):
    dropped: int
    unreachable: int


class FinishInput(UpdateRef):
    """The last step: lower the fence and seal the record, or keep both open for an operator."""

    status: UpdateStatus
    plan: str | None
    keep_fence: bool
