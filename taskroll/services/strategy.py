"""What a strategy does: bring the replicas of one service to a release, and find out what they run."""

from collections.abc import Callable, Sequence
from typing import Protocol, TypeVar

from taskroll_agent.contracts import (
    AbortAnswer,
    AbortRequest,
    ActivateAnswer,
    ActivateRequest,
    Attestation,
    PrepareAnswer,
    PrepareRequest,
)

from .answers import ReplicaAnswer
from .configuration import ServiceConfig
from .deadline import Deadline
from .replica import Replica

T = TypeVar("T")

Answers = list[tuple[Replica, ReplicaAnswer[T]]]
OnDone = Callable[[object, object], None]
"""Told (replica, answer) as each one comes."""


class Strategy(Protocol):
    """One way to bring a service to a release. Every method is idempotent and ends by the deadline.

    A replica that fails is an answer among the others. Raised is only what concerns all replicas: a secret that
    cannot be read (`InvalidConfiguration`), the API server out of reach, cancellation. When cancelled, a strategy
    waits for what it had started and then raises: see `settle.settle_all`.

    To add a strategy: a member of `StrategyName`, a file with the class, a line in `strategy_registry`.
    """

    async def prepare(
        self,
        service: ServiceConfig,
        replicas: Sequence[Replica],
        request: PrepareRequest,
        deadline: Deadline,
        on_done: OnDone | None = None,
    ) -> Answers[PrepareAnswer]:
        """Have each replica load the new definitions without serving them."""
        ...

    async def invalidate(
        self,
        service: ServiceConfig,
        replicas: Sequence[Replica],
        request: ActivateRequest,
        deadline: Deadline,
        on_done: OnDone | None = None,
    ) -> Answers[ActivateAnswer]:
        """Make the release current in each replica."""
        ...

    async def abort(
        self,
        service: ServiceConfig,
        replicas: Sequence[Replica],
        request: AbortRequest,
        deadline: Deadline,
        on_done: OnDone | None = None,
    ) -> Answers[AbortAnswer]:
        """Drop what each replica prepared for the update."""
        ...

    async def attest(
        self,
        service: ServiceConfig,
        replicas: Sequence[Replica],
        deadline: Deadline,
        on_done: OnDone | None = None,
        *,
        full: bool = False,
        once: bool = False,
    ) -> Answers[Attestation]:
        """Find out what is live in each replica.

        Args:
            service: The service.
            replicas: Of the service.
            deadline: By when.
            on_done: Told each answer as it comes.
            full: Whether each definition's digest is named too.
            once: Whether to leave another try to the caller, who asks in rounds.
        """
        ...
