"""Have every replica hold new calls to the classes of an update, and let them go on again."""

from collections.abc import Callable, Coroutine, Sequence
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict

from taskroll_agent.contracts import HoldAnswer, HoldRequest, ReleaseRequest

from .across import FIRST_PROBLEMS, key_of
from .agent_strategy import agent_token
from .answers import Answered, ReplicaAnswer, Unreachable, problem_of
from .configuration import ServiceConfig
from .deadline import Deadline
from .fleet import Fleet
from .progress import OnProgress, Tally, silent
from .replica import Replica
from .replicas import list_replicas, shortfalls
from .settle import for_each
from .strategy import Answers
from .strategy_name import StrategyName

T = TypeVar("T")

_PAUSE = 0.2


class HoldOutcome(BaseModel):
    """How holding went. Lists hold the first 20."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    replicas: int
    """Replicas that hold."""
    cancelled: int
    """Calls that were cancelled since they did not end in time."""
    in_flight: list[str]
    """Calls that did not end, on replicas of required services, a sentence per replica."""
    unheld: list[str]
    """Replicas of required services that did not answer or refused; services with too few replicas."""

    @property
    def is_held(self) -> bool:
        return not (self.in_flight or self.unheld)


class ReleaseOutcome(BaseModel):
    """How letting go went."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    replicas: int
    waited_calls: int
    longest_wait_ms: float
    expired: list[str]
    """Replicas whose hold had ended by itself before, the first 20."""
    problem_count: int
    """Replicas that did not answer; their hold ends by itself."""


async def hold_calls(
    fleet: Fleet, namespace: str, request: HoldRequest, deadline: Deadline, on_progress: OnProgress = silent
) -> HoldOutcome:
    """Hold on every replica that has an agent, and list them again until none is there that does not hold.

    Raises:
        InvalidConfiguration: where a token cannot be read.
        ServiceUnavailable, RefusedByCluster: where replicas cannot be listed.
    """
    last: dict[tuple[str, str], ReplicaAnswer[HoldAnswer]] = {}
    while True:
        listed = await list_replicas(fleet.cluster, namespace, fleet.config)
        missing = await shortfalls(fleet.cluster, namespace, fleet.config, listed)
        services = _with_agent(fleet)
        replicas = [replica for service in services for replica in listed[service.name]]
        todo = [r for r in replicas if _may_try(last.get(key_of(r)), fleet.config.service(r.service).required)]
        if (not todo and not missing) or deadline.is_over:
            break
        tally = Tally(replicas, "holding calls", on_progress, todo)
        answers = await _for_each(fleet, todo, fleet.calls.hold, request, deadline, tally.count)
        last.update((key_of(replica), answer) for replica, answer in answers)
        if any(isinstance(answer, Answered) and not answer.value.held for _, answer in answers):
            break
        if missing or any(isinstance(answer, Unreachable) for _, answer in answers):
            await deadline.pause(_PAUSE)
    in_flight: list[str] = []
    unheld = list(missing)
    held = cancelled = 0
    for replica in replicas:
        required = fleet.config.service(replica.service).required
        answer = last.get(key_of(replica), Unreachable("not called: no time was left"))
        if isinstance(answer, Answered):
            held += answer.value.held
            cancelled += answer.value.cancelled
            if not answer.value.held and required:
                in_flight.append(_in_flight(replica, answer.value))
        elif required:
            unheld.append(str(problem_of(replica, answer)))
    return HoldOutcome(
        replicas=held, cancelled=cancelled, in_flight=in_flight[:FIRST_PROBLEMS], unheld=unheld[:FIRST_PROBLEMS]
    )


async def release_calls(
    fleet: Fleet, namespace: str, request: ReleaseRequest, deadline: Deadline, on_progress: OnProgress = silent
) -> ReleaseOutcome:
    """Let go on every replica that is listed now.

    Raises:
        InvalidConfiguration: where a token cannot be read.
        ServiceUnavailable, RefusedByCluster: where replicas cannot be listed.
    """
    listed = await list_replicas(fleet.cluster, namespace, fleet.config)
    replicas = [replica for service in _with_agent(fleet) for replica in listed[service.name]]
    tally = Tally(replicas, "releasing calls", on_progress)
    answers = await _for_each(fleet, replicas, fleet.calls.release, request, deadline, tally.count)
    told = [(replica, answer.value) for replica, answer in answers if isinstance(answer, Answered)]
    return ReleaseOutcome(
        replicas=len(told),
        waited_calls=sum(answer.waited_calls for _, answer in told),
        longest_wait_ms=max((answer.longest_wait_ms for _, answer in told), default=0.0),
        expired=[f"{replica.service}/{replica.pod}" for replica, answer in told if answer.expired][:FIRST_PROBLEMS],
        problem_count=len(answers) - len(told),
    )


def _with_agent(fleet: Fleet) -> list[ServiceConfig]:
    return [service for service in fleet.config.services if service.strategy == StrategyName.AGENT]


def _may_try(answer: ReplicaAnswer[HoldAnswer] | None, required: bool) -> bool:
    return answer is None or (required and isinstance(answer, Unreachable))


def _in_flight(replica: Replica, answer: HoldAnswer) -> str:
    calls = ", ".join(f"{' '.join(call.classes) or 'any class'} since {call.since:%H:%M:%S}" for call in answer.details)
    return f"{replica.service}/{replica.pod}: {answer.in_flight} in flight ({calls})"


async def _for_each(
    fleet: Fleet,
    replicas: Sequence[Replica],
    call: Callable[[Replica, Any, Any, Deadline], Coroutine[Any, Any, ReplicaAnswer[T]]],
    request: object,
    deadline: Deadline,
    on_done: Callable[[object, object], None],
) -> Answers[T]:
    tokens = {service.name: agent_token(service) for service in _with_agent(fleet)}
    return await for_each(replicas, lambda r, d: call(r, tokens[r.service], request, d), deadline, on_done)
