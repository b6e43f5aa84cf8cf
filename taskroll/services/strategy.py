"""What a strategy does: bring the replicas of one service to a release, and find out what they run."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar, Protocol

from pydantic import BaseModel

from taskroll_agent.contracts import (
    AbortAnswer,
    AbortRequest,
    ActivateAnswer,
    ActivateRequest,
    Attestation,
    PrepareAnswer,
    PrepareRequest,
)

from .reach import Reach
from .targets import Answers, Targets


@dataclass(frozen=True)
class Traits:
    """What a strategy can show of a service, and what it asks of the saga. The same for all its services."""

    before_commit: str
    """What is known before anything has changed, in a few words for the plan."""
    after_commit: str
    """What is known in the end, in a few words for the plan."""
    verifies: bool = True
    """Whether `attest` can show what a replica runs. Where not, the service cannot be required."""
    reads_definitions: bool = True
    """Whether processes read the custom resources, at the latest when they start, instead of the revisions of the
    release. On the way back these are restored first then, and the service is told afterwards. And guarantee 2
    (restart-safe) is for the service only as strong as the fence."""
    tells_moment: bool = False
    """Whether an attestation says when the process left the former release: else there is no mixed-version window."""
    options: type[BaseModel] | None = None
    """The form of the service's ``options``; None where there are none."""
    missing: Callable[[], str | None] | None = None
    """Says what has to be installed for it, None where nothing lacks."""

    def in_words(self) -> str:
        """One sentence for the plan."""
        fence = "; restart-safe only as far as the fence holds" if self.reads_definitions else ""
        return f"before the commit: {self.before_commit}; after it: {self.after_commit}{fence}"


class Strategy(Protocol):
    """One way to bring a service to a release. Every method is idempotent and ends by the deadline.

    A replica that fails is an answer among the others. Raised is only what concerns all replicas: a secret that
    cannot be read (`InvalidConfiguration`), the API server out of reach, cancellation. When cancelled, a strategy
    waits for what it had started and then raises: see `settle.settle_all`.

    A method is called with the replicas of one service (`Targets`). Services without any are not asked.
    """

    traits: ClassVar[Traits]

    def __init__(self, reach: Reach) -> None: ...

    async def prepare(self, targets: Targets, request: PrepareRequest) -> Answers[PrepareAnswer]:
        """Have each replica load the new definitions without serving them.

        `Answered` counts as loaded, `Unverified` as one that cannot be looked at before; `Unreachable` and `RollingOut`
        are asked again until the deadline, every other answer ends the update.
        """
        ...

    async def invalidate(self, targets: Targets, request: ActivateRequest) -> Answers[ActivateAnswer]:
        """Make the release current in each replica."""
        ...

    async def abort(self, targets: Targets, request: AbortRequest) -> Answers[AbortAnswer]:
        """Drop what each replica prepared for the update."""
        ...

    async def attest(self, targets: Targets, *, full: bool = False, once: bool = False) -> Answers[Attestation]:
        """Find out what is live in each replica.

        Args:
            targets: The replicas.
            full: Whether each definition's digest is named too.
            once: Whether to leave another try to the caller, who asks in rounds.
        """
        ...


class StrategyClass(Protocol):
    """What an entry point of the group ``taskroll.strategies`` names: the class of a `Strategy`."""

    @property
    def traits(self) -> Traits: ...

    def __call__(self, reach: Reach) -> Strategy: ...
