"""What the saga hands to each of its activities, and what comes back: references and counts, never sources."""

from datetime import datetime
from typing import Protocol

from pydantic import BaseModel, ConfigDict, Field

from taskroll_agent.contracts.definition import Digest

from .apps import StoppedApp
from .status import Phase, UpdateStatus
from .wording import counted


class _Message(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class StepResult(Protocol):
    """What a step answers."""

    def in_words(self) -> str:
        """The result in a few words, for the table of steps; empty where there is nothing to say."""
        ...


class UpdateRef(_Message):
    """Which update a step belongs to, and who acts for it."""

    namespace: str
    request_id: str
    workflow_id: str
    recovery: str = ""
    """The token under which a recovery took the fence over; empty for the update's own workflow."""
    phase: Phase | None = None
    """Phase of the update while the step runs, for its record; None where the record is not to follow."""


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
    require_enforced: bool = False
    """Give up where the API server does not refuse what the fence forbids."""


class FenceResult(_Message):
    held: bool
    ahead: list[str] = Field(default_factory=list[str])
    """Request ids of the updates that come first."""
    drifted: bool = False
    """True where the live state is no longer the one that the plan was made from."""
    instances: list[str] = Field(default_factory=list[str])
    """A first look at the live instances of the closure, behind the fence."""
    enforced: bool = True
    """Whether the API server was seen to refuse what the fence forbids."""

    def in_words(self) -> str:
        if self.drifted:
            return "the live definitions drifted: the plan is made again"
        if not self.held:
            return f"behind {', '.join(self.ahead[:5])}"
        return "" if self.enforced else "the API server does not enforce it"


class ShutDownInput(PlannedStep):
    grace: float
    """Seconds that apps may end by themselves."""
    restore: bool
    """Whether they shall come back: then none is stopped whose source nobody has."""


class ShutDownResult(_Message):
    apps: list[StoppedApp]

    def in_words(self) -> str:
        return f"{counted(len(self.apps), 'app')} unregistered" if self.apps else "no app to stop"


class CheckInput(PlannedStep):
    refuse: bool
    """End at once where something uses the closure, instead of waiting."""


class CheckResult(_Message):
    waited_for: int
    """Apps, tasks, instances and pods that were seen before none was left."""

    def in_words(self) -> str:
        return f"{counted(self.waited_for, 'use')} gone" if self.waited_for else "nothing uses it"


class StageResult(_Message):
    revisions: int
    """Revisions that were written; those that existed already are not counted."""

    def in_words(self) -> str:
        return f"{counted(self.revisions, 'revision')} written"


class PrepareResult(_Message):
    replicas: int
    unchecked: int = 0
    """Replicas whose service loads nothing before the commit."""

    def in_words(self) -> str:
        unchecked = f", {self.unchecked} cannot be checked before the commit" if self.unchecked else ""
        return f"{counted(self.replicas, 'replica')} loaded it{unchecked}"


class PatchInput(PlannedStep):
    instances_stay: bool = False
    """Whether instances of the closure may live meanwhile: ``drain: live``."""


class PatchResult(_Message):
    written: int
    already: int
    """Changes that had been made before: the answer of an earlier attempt was lost."""

    def in_words(self) -> str:
        return f"{self.written} written" + (f", {self.already} before" if self.already else "")


class RevertStep(PlannedStep):
    """Input of the compensation of the commit."""

    even_if_uncommitted: bool = False
    """Make a release with the former definitions also where the update had committed none: a service that reads the
    custom resources may have read the new ones."""


class CommitResult(_Message):
    epoch: int
    release: str
    content_digest: Digest
    previous_epoch: int

    def in_words(self) -> str:
        return f"release {self.epoch}"


class RevertResult(_Message):
    """What the compensation of the commit found and did."""

    committed: CommitResult | None
    """The release with the former digests; None where the update had committed nothing."""

    def in_words(self) -> str:
        return self.committed.in_words() if self.committed else "nothing had been committed"


class RestoreResult(_Message):
    restored: int
    byte_for_byte: bool
    """Whether each custom resource was compared afterwards and equals its former object."""

    def in_words(self) -> str:
        return f"{self.restored} restored, " + ("byte for byte" if self.byte_for_byte else "not byte for byte")


class ReleaseStep(PlannedStep):
    """Input of the steps that bring replicas to a release."""

    epoch: int
    release: str
    content_digest: Digest
    former: bool = False
    """True in a compensation: the replicas go back to what they ran before."""


class HoldInput(PlannedStep):
    seconds: float
    """How long to wait for calls in flight."""
    expires: float
    """Seconds after which a replica lets go by itself."""
    cancel: bool
    """Whether to cancel calls that are in flight after `seconds`."""


class HoldResult(_Message):
    replicas: int
    cancelled: int
    until: datetime
    """No replica lets go by itself before."""

    def in_words(self) -> str:
        more = f", {counted(self.cancelled, 'call')} cancelled" if self.cancelled else ""
        return f"{counted(self.replicas, 'replica')} hold{more}"


class ReleaseCallsResult(_Message):
    replicas: int
    waited_calls: int
    longest_pause_ms: float
    """The longest that a call waited."""
    expired: int = 0
    """Replicas that had let go by themselves before."""
    unreachable: int = 0

    def in_words(self) -> str:
        words = f"{counted(self.waited_calls, 'call')} waited, {self.longest_pause_ms:g} ms at most"
        if self.expired:
            words += f"; {counted(self.expired, 'replica')} had let go before: responses may be mixed"
        return words + (f"; {self.unreachable} out of reach" if self.unreachable else "")


class InvalidateResult(_Message):
    replicas: int
    already_active: int
    """Replicas that had flipped by themselves, on seeing the release pointer move."""
    untold: int = 0
    """Replicas that did not answer."""

    def in_words(self) -> str:
        return f"{counted(self.replicas, 'replica')}, {self.already_active} had seen it by themselves"


class VerifyResult(_Message):
    replicas: int
    mixed_version_window_ms: float | None
    unverified: list[str] = Field(default_factory=list[str])
    """Services that cannot show what their replicas run."""

    def in_words(self) -> str:
        window = self.mixed_version_window_ms
        mixed = f", mixed for {window:g} ms" if window is not None else ""
        unverified = f"; not verified: {', '.join(self.unverified)}" if self.unverified else ""
        return f"{counted(self.replicas, 'replica')}{mixed}{unverified}"


class AbortPrepareResult(_Message):
    dropped: int
    unreachable: int

    def in_words(self) -> str:
        lost = f", {self.unreachable} out of reach" if self.unreachable else ""
        return f"{counted(self.dropped, 'replica')} dropped it{lost}"


class RestoreAppsInput(UpdateRef):
    restore: bool
    """Register the stopped apps again; else only say which were stopped."""
    budget: float = 60.0
    """As in `PlannedStep`."""


class RestoreAppsResult(_Message):
    apps: list[StoppedApp]

    def in_words(self) -> str:
        back = sum(app.restored_as is not None for app in self.apps)
        return f"{back} of {counted(len(self.apps), 'app')} back"


class FinishInput(UpdateRef):
    """The last step: lower the fence and seal the record, or keep both open for an operator."""

    status: UpdateStatus
    plan: str | None
    keep_fence: bool
