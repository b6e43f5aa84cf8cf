"""Have every replica load the new definitions beside the ones it serves."""

from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from typing import cast

from pydantic import BaseModel, ConfigDict

from taskroll_agent.contracts import PrepareAnswer, PrepareRequest

from .across import FIRST_PROBLEMS, ServiceCount, across_services, key_of
from .answers import (
    Answered,
    ReplicaAnswer,
    RollingOut,
    Unreachable,
    Unverified,
    problem_of,
    replica_problem,
)
from .deadline import Deadline
from .fleet import Fleet
from .load_problems import LoadProblem, LoadProblems
from .prepared_replicas import PreparedReplicas, process_of
from .progress import OnProgress, Tally, silent
from .replica import Replica, ReplicaProblem
from .replicas import list_replicas, shortfalls
from .targets import Answers, OnDone

_FIRST_PAUSE, _LONGEST_PAUSE = 0.2, 2.0


class PrepareOutcome(BaseModel):
    """How preparing went. Lists hold the first 20; the counts beside them say how many there are."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    services: list[ServiceCount]
    problems: list[LoadProblem]
    """Why replicas of required services could not load definitions."""
    problem_count: int
    """Definitions that they could not load."""
    unprepared: list[ReplicaProblem]
    """Replicas of required services that did not answer, or refused."""
    unprepared_count: int
    missing: list[str]
    """Required services with fewer replicas than they must have, a sentence each."""
    ignored: list[ReplicaProblem]
    """Replicas of other services that are not prepared."""
    unchecked: int
    """Replicas of required services whose strategy loads nothing before the commit: nothing speaks against it, and
    nothing for it."""
    content_digests: dict[str, int]
    """Content digest of what was loaded → replicas that did so now. Several where replicas run different releases."""

    @property
    def is_prepared(self) -> bool:
        """True where every listed replica of every required service is prepared, as far as it can be."""
        return not (self.problem_count or self.unprepared_count or self.missing)

    @property
    def replicas(self) -> int:
        """Replicas that are prepared."""
        return sum(service.done for service in self.services)


async def prepare(
    fleet: Fleet,
    namespace: str,
    request: PrepareRequest,
    deadline: Deadline,
    on_progress: OnProgress = silent,
    *,
    prepared: PreparedReplicas | None = None,
) -> PrepareOutcome:
    """Prepare every replica, and list them again until none is there that is not prepared.

    One replica goes first, alone, and the others once it has prepared: classes that end the process that loads them
    end one process.

    Ends early once a replica of a required service answered that it cannot: trying again will not help. Replicas out of
    reach are tried until the deadline, or until they are no longer listed.

    Args:
        fleet: The services.
        namespace: Of the definitions and the replicas.
        request: What to load.
        deadline: By when.
        on_progress: Told (prepared, replicas, note).
        prepared: Who has prepared this update before: not asked again. Those that prepare it now are added.

    Returns:
        The outcome; failures of replicas are in it, not raised. It counts those that are not asked again as prepared.

    Raises:
        InvalidConfiguration: where a token cannot be read.
        ServiceUnavailable, RefusedByCluster: where replicas cannot be listed.
    """
    required = {service.name for service in fleet.config.services if service.required}
    last: dict[tuple[str, str], ReplicaAnswer[PrepareAnswer]] = {}
    prepared = prepared or PreparedReplicas()
    before = set(prepared.of(namespace, request.request_id))
    pause = _FIRST_PAUSE
    while True:
        listed = await list_replicas(fleet.cluster, namespace, fleet.config)
        replicas = [replica for some in listed.values() for replica in some]
        missing = await shortfalls(fleet.cluster, namespace, fleet.config, listed)
        for replica in replicas:
            if process_of(replica) in before:
                last.setdefault(key_of(replica), Answered(_prepared_before(request)))
        todo = [replica for replica in replicas if _may_try(last.get(key_of(replica)), replica.service in required)]
        if (not todo and not missing) or deadline.is_over:
            break
        tally = Tally(replicas, "preparing", on_progress, todo)

        def count(replica: object, answer: object, tally: Tally = tally) -> None:
            if isinstance(answer, Unverified) or _has_loaded(cast("ReplicaAnswer[PrepareAnswer]", answer)):
                tally.count(replica)

        answers: Answers[PrepareAnswer] = []

        async def ask(
            some: Sequence[Replica],
            count: OnDone = count,
            answers: Answers[PrepareAnswer] = answers,
        ) -> Answers[PrepareAnswer]:
            fresh = await across_services(
                fleet,
                some,
                lambda strategy, targets: strategy.prepare(targets, request),
                deadline,
                count,
            )
            answers += fresh
            last.update((key_of(replica), answer) for replica, answer in fresh)
            loaded = [replica for replica, answer in fresh if _has_loaded(answer)]
            prepared.add(namespace, request.request_id, loaded)
            return fresh

        if any(_has_loaded(answer) for answer in last.values()) or await _first_alone(todo, required, ask):
            asked = {key_of(replica) for replica, _ in answers}
            await ask([replica for replica in todo if key_of(replica) not in asked])
        mine = [answer for replica, answer in answers if replica.service in required]
        if any(_is_final_failure(answer) for answer in mine):
            break
        if missing or any(isinstance(answer, Unreachable | RollingOut) for answer in mine):
            await deadline.pause(pause)
            pause = min(2 * pause, _LONGEST_PAUSE)
    return _outcome(fleet, replicas, last, required, missing)


async def _first_alone(
    todo: Sequence[Replica],
    required: set[str],
    ask: Callable[[Sequence[Replica]], Awaitable[Answers[PrepareAnswer]]],
) -> bool:
    """Ask one replica after the other until one has loaded; return whether the others may be asked as well.

    One that cannot be reached is passed over. One that was reached and did not answer is not: it may hang or have
    ended by what it loads.
    """
    loads_nothing: set[str] = set()
    for replica in sorted(todo, key=lambda one: (one.service not in required, one.ready is False)):
        if replica.service in loads_nothing:
            continue
        ((_, answer),) = await ask([replica])
        match answer:
            case Unverified() | RollingOut():
                loads_nothing.add(replica.service)
            case Unreachable(connection="lost"):
                return False
            case _ if _has_loaded(answer):
                return True
            case _ if replica.service in required and _is_final_failure(answer):
                return False
            case _:
                pass
    return True


def _has_loaded(answer: ReplicaAnswer[PrepareAnswer]) -> bool:
    return isinstance(answer, Answered) and answer.value.prepared


def _prepared_before(request: PrepareRequest) -> PrepareAnswer:
    return PrepareAnswer(request_id=request.request_id, prepared=True)


def _may_try(answer: ReplicaAnswer[PrepareAnswer] | None, required: bool) -> bool:
    return answer is None or (required and isinstance(answer, Unreachable | RollingOut))


def _is_final_failure(answer: ReplicaAnswer[PrepareAnswer]) -> bool:
    match answer:
        case Answered(value):
            return not value.prepared
        case Unreachable() | RollingOut() | Unverified():
            return False
        case _:
            return True


def _outcome(
    fleet: Fleet,
    replicas: list[Replica],
    last: dict[tuple[str, str], ReplicaAnswer[PrepareAnswer]],
    required: set[str],
    missing: list[str],
) -> PrepareOutcome:
    prepared: Counter[str] = Counter()
    contents: Counter[str] = Counter()
    findings = LoadProblems()
    unprepared: list[ReplicaProblem] = []
    ignored: list[ReplicaProblem] = []
    unchecked = 0
    for replica in replicas:
        match last.get(key_of(replica)):
            case None:
                pass
            case Answered(value) if value.prepared:
                prepared[replica.service] += 1
                if value.content_digest is not None:
                    contents[value.content_digest] += 1
            case Answered(value) if replica.service in required and value.problems:
                findings.add(value.problems, replica)
            case Answered(value):
                told = "; ".join(f"{p.definition}: {p.error}: {p.message}" for p in value.problems)
                problem = replica_problem(replica, "refused", told or "not prepared, and it does not say why")
                (unprepared if replica.service in required else ignored).append(problem)
            case Unverified() if replica.service in required:
                unchecked += 1
            case failed:
                (unprepared if replica.service in required else ignored).append(problem_of(replica, failed))
    if not (findings or unprepared):  # else the others were not asked, because of those
        unprepared += [
            problem_of(replica, Unreachable("not called: no time was left"))
            for replica in replicas
            if replica.service in required and key_of(replica) not in last
        ]
    listed = Counter(replica.service for replica in replicas)
    return PrepareOutcome(
        services=[
            ServiceCount(
                service=service.name,
                required=service.required,
                replicas=listed[service.name],
                done=prepared[service.name],
            )
            for service in fleet.config.services
        ],
        problems=findings.findings(FIRST_PROBLEMS),
        problem_count=findings.definition_count,
        unprepared=unprepared[:FIRST_PROBLEMS],
        unprepared_count=len(unprepared),
        missing=missing,
        ignored=ignored[:FIRST_PROBLEMS],
        unchecked=unchecked,
        content_digests=dict(contents.most_common(FIRST_PROBLEMS)),
    )
