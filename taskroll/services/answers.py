"""What comes back from a call to one replica. A replica that fails is an answer, not an exception."""

from dataclasses import dataclass
from typing import Generic, Literal, TypeVar

from taskroll_agent.contracts import Refusal

from .replica import ProblemReason, Replica, ReplicaProblem

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)

MAX_MESSAGE = 400


@dataclass(frozen=True)
class Answered(Generic[T_co]):
    """The replica answered as the contract says."""

    value: T_co


@dataclass(frozen=True)
class Refused:
    """The replica will not carry out the call (409)."""

    refusal: Refusal


@dataclass(frozen=True)
class Unreachable:
    """No answer, or one that says «not now» (5xx, 429). Trying again may help."""

    reason: str
    connection: Literal["none", "lost"] | None = None
    """``none`` where no connection came about; ``lost`` where the request may have arrived and no answer came."""


@dataclass(frozen=True)
class ProcessEnded:
    """The process ended in the middle of the call. Another one, asked the same, may end as well."""

    reason: str


@dataclass(frozen=True)
class Unauthorised:
    """The replica does not take the token (401, 403)."""

    reason: str


@dataclass(frozen=True)
class Invalid:
    """Something answers there, but not as the contract says. Trying again will not help."""

    reason: str


@dataclass(frozen=True)
class RollingOut:
    """The rollout of its Deployment is not over, or will not be. Looking again may help."""

    reason: str


@dataclass(frozen=True)
class Outdated:
    """As far as can be told from outside, the replica runs an earlier release."""

    reason: str


@dataclass(frozen=True)
class Unverified:
    """Nothing is wrong, and nothing is shown: the service's strategy has no way to find out."""

    reason: str


Failure = Refused | Unreachable | ProcessEnded | Unauthorised | Invalid | RollingOut | Outdated | Unverified
ReplicaAnswer = Answered[T] | Failure


def problem_of(replica: Replica, answer: Failure) -> ReplicaProblem:
    """Say as data why the replica does not count."""
    match answer:
        case Refused(refusal):
            return replica_problem(replica, "refused", f"{refusal.reason}: {refusal.message}", epoch=refusal.epoch)
        case Unreachable(reason):
            return replica_problem(replica, "not_ready" if replica.ready is False else "unreachable", reason)
        case ProcessEnded(reason):
            return replica_problem(replica, "process_ended", reason)
        case Unauthorised(reason):
            return replica_problem(replica, "unauthorised", reason)
        case Invalid(reason):
            return replica_problem(replica, "invalid", reason)
        case RollingOut(reason):
            return replica_problem(replica, "rollout", reason)
        case Outdated(reason):
            return replica_problem(replica, "stale", reason)
        case Unverified(reason):
            return replica_problem(replica, "unverified", reason)


def replica_problem(
    replica: Replica, reason: ProblemReason, message: str, *, epoch: int | None = None
) -> ReplicaProblem:
    """A problem of that replica, its message cut to what a history may hold."""
    return ReplicaProblem(
        service=replica.service,
        pod=replica.pod,
        endpoint=replica.endpoint,
        reason=reason,
        message=shorten(message),
        epoch=epoch,
    )


def shorten(message: str, limit: int = MAX_MESSAGE) -> str:
    """One line of at most `limit` characters: what replicas say ends up in histories and records."""
    line = " ".join(message.split())
    return line if len(line) <= limit else line[: limit - 1] + "…"
