"""Tell every replica to make the release current."""

from collections import Counter

from pydantic import BaseModel, ConfigDict

from taskroll_agent.contracts import ActivateAnswer, ActivateRequest

from .across import FIRST_PROBLEMS, ServiceCount, across_services
from .answers import Answered, Invalid, Refused, ReplicaAnswer, problem_of
from .deadline import Deadline
from .fleet import Fleet
from .progress import OnProgress, Tally, silent
from .replica import Replica, ReplicaProblem
from .replicas import list_replicas


class InvalidateOutcome(BaseModel):
    """How telling went; it proves nothing, see `verify`. Lists hold the first 20, the counts say how many there are."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    services: list[ServiceCount]
    activated: int
    """Replicas that flipped because they were told."""
    already_active: int
    """Replicas that had flipped before: agents watch the release pointer themselves."""
    ahead: int
    """Replicas that run a later release: another update was committed meanwhile."""
    problems: list[ReplicaProblem]
    """Of required services."""
    problem_count: int
    ignored: list[ReplicaProblem]
    """Of other services."""
    not_told: list[str]
    """Services of later orders that were left alone because a replica of an earlier one failed."""

    @property
    def is_complete(self) -> bool:
        """True where every replica of every required service was told."""
        return not (self.problem_count or self.not_told)


async def invalidate(
    fleet: Fleet,
    namespace: str,
    request: ActivateRequest,
    deadline: Deadline,
    on_progress: OnProgress = silent,
    *,
    keep_going: bool = False,
) -> InvalidateOutcome:
    """Activate the release on every replica, services of a lower `order` first.

    Replicas that start meanwhile need no telling: they come up on the release that the pointer names.

    Args:
        fleet: The services.
        namespace: Of the definitions and the replicas.
        request: The release.
        deadline: By when.
        on_progress: Told (told, replicas, note).
        keep_going: Whether services of later orders are told although a required replica of an earlier one failed: so
            on the way back, where every replica that can go back shall.

    Returns:
        The outcome; failures of replicas are in it, not raised.

    Raises:
        InvalidConfiguration: where a token cannot be read.
        ServiceUnavailable, RefusedByCluster: where replicas cannot be listed.
    """
    listed = await list_replicas(fleet.cluster, namespace, fleet.config)
    tally = Tally([replica for some in listed.values() for replica in some], "invalidating", on_progress)
    required = {service.name for service in fleet.config.services if service.required}
    told: Counter[str] = Counter()
    states: Counter[str] = Counter()
    problems: list[ReplicaProblem] = []
    ignored: list[ReplicaProblem] = []
    not_told: list[str] = []
    for order in sorted({service.order for service in fleet.config.services}):
        names = [service.name for service in fleet.config.services if service.order == order]
        if problems and not keep_going:
            not_told += [name for name in names if listed[name]]
            continue
        answers = await across_services(
            fleet,
            [replica for name in names for replica in listed[name]],
            lambda strategy, targets: strategy.invalidate(targets, request),
            deadline,
            tally.count,
        )
        for replica, answer in answers:
            judged = _judge(replica, answer, request)
            if isinstance(judged, str):
                states[judged] += 1
                told[replica.service] += 1
            else:
                (problems if replica.service in required else ignored).append(judged)
    return InvalidateOutcome(
        services=[
            ServiceCount(
                service=service.name,
                required=service.required,
                replicas=len(listed[service.name]),
                done=told[service.name],
            )
            for service in fleet.config.services
        ],
        activated=states["activated"],
        already_active=states["already_active"],
        ahead=states["ahead"],
        problems=problems[:FIRST_PROBLEMS],
        problem_count=len(problems),
        ignored=ignored[:FIRST_PROBLEMS],
        not_told=not_told,
    )


def _judge(replica: Replica, answer: ReplicaAnswer[ActivateAnswer], request: ActivateRequest) -> str | ReplicaProblem:
    match answer:
        case Answered(value) if value.epoch > request.epoch:
            return "ahead"
        case Answered(value) if value.epoch == request.epoch and value.content_digest == request.content_digest:
            return "already_active" if value.already_active else "activated"
        case Answered(value):
            said = f"it says that it runs epoch {value.epoch} with {value.content_digest}"
            return problem_of(replica, Invalid(f"told to run epoch {request.epoch}, {said}"))
        case Refused(refusal) if refusal.reason == "stale_epoch" and refusal.epoch > request.epoch:
            return "ahead"
        case failed:
            return problem_of(replica, failed)
