"""What finishes an update whose workflow is gone: how it is found, and what stands before anything is done."""

from datetime import datetime

from pydantic import BaseModel, ConfigDict, Field

from .decision import ReleaseInput
from .names import Namespace, RequestId
from .plan import PlanSummary
from .request import UpdateInput
from .status import UpdateStatus
from .steps import CommitResult, UpdateRef


class _Message(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class ReconcileInput(_Message):
    """One round of the reconciler."""

    namespace: Namespace
    only: RequestId | None = None
    """Look at this update and at nothing else."""
    release: ReleaseInput | None = None
    """With `only`: take its fence down and leave the rest as it is, instead of finishing it."""


class RecoveryInput(UpdateInput):
    """An update to finish in place of its own workflow."""

    cause: str
    """What became of its workflow, as in «its workflow was terminated by …»."""
    release: ReleaseInput | None = None


class DeadUpdates(_Message):
    """What a round found."""

    dead: list[RecoveryInput] = Field(default_factory=list[RecoveryInput])
    """Those whose workflow is gone before they had ended; the others come in the next round where there are many."""
    parked: list[RequestId] = Field(default_factory=list[RequestId])
    """Those that wait for an operator."""
    live: int = 0
    """Updates under way whose workflow runs. They are left alone."""
    dropped: int = 0
    """Replicas that dropped what was prepared for an update that is not under way any more."""
    superseded: list[RequestId] = Field(default_factory=list[RequestId])
    """Those whose workflow runs and does not know that they are over, or further: Temporal has it from a back-up."""


class ReconcileReport(_Message):
    """What a round did; the answer of ``taskroll reconcile``."""

    namespace: str
    recovering: list[str] = Field(default_factory=list[str])
    """Request ids whose recovery this round started."""
    under_recovery: list[str] = Field(default_factory=list[str])
    """Those whose recovery ran already."""
    parked: list[str] = Field(default_factory=list[str])
    """Those that wait for an operator."""
    live: int = 0
    dropped: int = 0
    superseded: list[str] = Field(default_factory=list[str])
    """Those whose workflow was told that it is out of date."""


class TakeOverInput(UpdateRef):
    """`recovery` is the token under which the recovery acts."""

    since: datetime
    """When the recovery began."""
    budget: float


class TakeOverResult(_Message):
    """Whether the recovery acts for the update now."""

    is_alive: bool = False
    """The update's own workflow runs: nothing was taken over."""
    is_held: bool = False
    """The recovery holds the fence. Else the update held none."""
    is_enforced: bool = False
    """The API server was seen to go by it: it refuses what the former writer still sends."""
    seen: UpdateStatus | None = None
    """The last status of the workflow that is gone, where Temporal still has its history."""

    def in_words(self) -> str:
        if self.is_alive:
            return "its workflow runs: left alone"
        return "holds the fence" if self.is_held else "there was no fence to hold"


class Assessment(_Message):
    """How far the update had come, from what is stored in the cluster and not from what a workflow believed."""

    plan: PlanSummary | None = None
    """Its last plan."""
    committed: CommitResult | None = None
    """The release that it committed."""
    is_reverted: bool = False
    """It committed the former definitions again after that."""
    is_touched: bool = False
    """It may have written custom resources."""
    is_sealed: bool = False
    """Its record is closed: nothing is left to do but to take the fence down."""
    recorded: UpdateStatus | None = None
    """From its record, where it has one."""

    def in_words(self) -> str:
        if self.is_sealed:
            return "had ended"
        if self.is_reverted:
            return "was being taken back"
        if self.committed:
            return f"had committed release {self.committed.epoch}"
        return "had written custom resources" if self.is_touched else "had written nothing that services see"
