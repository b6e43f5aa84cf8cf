"""Have every replica drop what it prepared for an update."""

from pydantic import BaseModel, ConfigDict

from taskroll_agent.contracts import AbortRequest

from .across import FIRST_PROBLEMS, across_services
from .answers import Answered, problem_of
from .deadline import Deadline
from .fleet import Fleet
from .progress import OnProgress, Tally, silent
from .replica import ReplicaProblem
from .replicas import list_replicas


class AbortOutcome(BaseModel):
    """How aborting went."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    replicas: int
    dropped: int
    """Replicas that had something prepared and dropped it."""
    problems: list[ReplicaProblem]
    """Replicas that did not answer as they should, the first 20, of all services."""
    problem_count: int


async def abort_prepared(
    fleet: Fleet,
    namespace: str,
    request: AbortRequest,
    deadline: Deadline,
    on_progress: OnProgress = silent,
) -> AbortOutcome:
    """Drop what was prepared, on every replica that is listed now.

    A replica that cannot be reached keeps a generation that nothing serves from; it costs memory until the process ends
    or the agent drops it by itself. So a problem here is worth a warning and no more.

    Raises:
        InvalidConfiguration: where a token cannot be read.
        ServiceUnavailable, RefusedByCluster: where replicas cannot be listed.
    """
    listed = await list_replicas(fleet.cluster, namespace, fleet.config)
    replicas = [replica for some in listed.values() for replica in some]
    tally = Tally(replicas, "aborting", on_progress)
    answers = await across_services(
        fleet,
        replicas,
        lambda strategy, targets: strategy.abort(targets, request),
        deadline,
        tally.count,
    )
    problems = [problem_of(replica, answer) for replica, answer in answers if not isinstance(answer, Answered)]
    return AbortOutcome(
        replicas=len(replicas),
        dropped=sum(isinstance(answer, Answered) and answer.value.dropped for _, answer in answers),
        problems=problems[:FIRST_PROBLEMS],
        problem_count=len(problems),
    )
