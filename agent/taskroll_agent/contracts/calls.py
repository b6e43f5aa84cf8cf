"""The calls that taskroll makes to an agent, under ``/taskroll/v1``, with a bearer token.

====================  =======================================  ==========================================
``POST /prepare``     `PrepareRequest` → `PrepareAnswer`       load a generation beside the current one
``POST /hold``        `HoldRequest` → `HoldAnswer`             let no new call in, wait for those in flight
``POST /activate``    `ActivateRequest` → `ActivateAnswer`     make a release current in this process
``POST /release``     `ReleaseRequest` → `ReleaseAnswer`       let the calls go on
``POST /abort``       `AbortRequest` → `AbortAnswer`           drop what was prepared for an update
``GET /attestation``  ``?nonce=…&detail=full`` → `Attestation` what is live in this process
``GET /census``       ``?collect=true`` → `Census`             what of former generations is alive, and who holds it
====================  =======================================  ==========================================

A call that the agent will not carry out is answered 409 with a `Refusal`; 401 without the token; 422 for a body that
is not of the form; 503 where the agent could not reach the API server for what it needs.
"""

from datetime import datetime
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from .definition import Digest

API_PREFIX = "/taskroll/v1"


class _Call(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class _Answer(BaseModel):
    # An agent may be newer than the worker that asks it: what the worker does not know, it passes over.
    model_config = ConfigDict(frozen=True, extra="ignore")


class PrepareRequest(_Call):
    """Load the current release with these definitions changed into a generation of its own."""

    request_id: str
    definitions: dict[str, Digest | None]
    """What the update changes: definition key → digest of the revision to load, or None where it is deleted."""


class ImportProblem(_Answer):
    """Why one definition cannot be loaded. The message names module and line; it never holds source text."""

    definition: str
    module: str
    error: str
    """Type of the error, such as ``ImportError`` or ``DigestMismatch``."""
    message: str


class PrepareAnswer(_Answer):
    request_id: str
    prepared: bool
    content_digest: str | None = None
    """Of the whole generation that was loaded, None where it was not."""
    problems: list[ImportProblem] = Field(default_factory=list[ImportProblem])
    seconds: float = 0.0


class ActivateRequest(_Call):
    """Make this release current. Needs nothing but the prepared generation where that has the same content."""

    request_id: str
    epoch: int = Field(ge=1)
    release: str
    content_digest: Digest


class ActivateAnswer(_Answer):
    epoch: int
    content_digest: str
    already_active: bool
    """True where the agent had flipped before the call came: it watches the release pointer itself."""


class HoldRequest(_Call):
    """Let no new call of these classes in, and wait for those in flight."""

    request_id: str
    classes: list[str]
    """Names of task classes; none means every call."""
    seconds: float = Field(ge=0, le=3600)
    """How long to wait for calls in flight."""
    expires: float = Field(gt=0, le=3600)
    """Seconds after which the hold lets go by itself, counted from this request."""
    cancel: bool = False
    """Whether to cancel calls that are still in flight after `seconds`."""


class CallInFlight(_Answer):
    classes: list[str]
    """The task classes that the call said it may use; none means any."""
    since: datetime


class HoldAnswer(_Answer):
    held: bool
    """True where no call of these classes runs here any more and none is let in. False: the hold was given up."""
    in_flight: int
    """Calls that the hold waited for in vain."""
    details: list[CallInFlight] = Field(default_factory=list[CallInFlight])
    """The oldest of them."""
    cancelled: int = 0
    """Calls that were cancelled."""


class ReleaseRequest(_Call):
    request_id: str


class ReleaseAnswer(_Answer):
    held_ms: float
    """0 where nothing was held for the update (any more)."""
    waited_calls: int
    """Calls that came meanwhile and waited."""
    longest_wait_ms: float = 0.0
    """The longest that one of them waited."""
    expired: bool = False
    """True where the hold had let go by itself before: calls may have run while the update went on."""


class AbortRequest(_Call):
    request_id: str


class AbortAnswer(_Answer):
    dropped: bool
    """False where nothing was prepared for the update (any more)."""


class StandingGeneration(_Answer):
    """One generation that stands in memory."""

    number: int
    """Counts the generations of the process."""
    content_digest: str
    current: bool
    leases: int
    """Calls that hold it now."""


class Attestation(_Answer):
    """What is live in a process, read from the class objects themselves."""

    pod: str
    pod_uid: str
    process: str
    """Id of this process's life: another one after each restart."""
    started_at: datetime
    epoch: int
    """0 where no release was loaded yet."""
    release: str | None = None
    content_digest: str
    """Over `definitions`, also where those are left out."""
    definitions: dict[str, str] | None = None
    """Definition key → digest of the live class; only with ``detail=full``."""
    activated_at: datetime | None = None
    """When this process began to serve the epoch."""
    flip_ms: float | None = None
    """Milliseconds that its latest flip took, by the clock: so long its event loop stood. None before the first."""
    prepared: list[str] = Field(default_factory=list[str])
    """Request ids that have a generation prepared."""
    generations: int = 1
    """Generations that stand in memory, those still held by a lease among them."""
    standing: list[StandingGeneration] = Field(default_factory=list[StandingGeneration])
    """Those generations, oldest first."""
    memory_bytes: int | None = None
    """Resident memory of the process; None where the system does not tell (only Linux does)."""
    pointer_epoch: int | None = None
    """The newest epoch that the agent has seen on the release pointer; above `epoch` where it could not load it."""
    problem: str | None = None
    """Why the agent does not run the release that the pointer names."""
    nonce: str | None = None
    """As given in the question."""


class Refusal(_Answer):
    """The body of a 409."""

    reason: Literal["stale_epoch", "other_update", "not_loadable"]
    message: str
    epoch: int
    """The epoch that the agent runs."""
