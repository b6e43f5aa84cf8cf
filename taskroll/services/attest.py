"""Ask every replica what it runs, whatever that is: the matrix behind ``taskroll versions``."""

from collections.abc import Sequence
from dataclasses import dataclass

from taskroll_agent.contracts import Attestation

from .across import across_services
from .answers import Answered, problem_of
from .contents import Contents
from .deadline import Deadline
from .expectation import identity_problem
from .fleet import Fleet
from .progress import OnProgress, Tally, silent
from .replica import Replica, ReplicaProblem
from .replicas import list_replicas, shortfalls


@dataclass(frozen=True)
class FleetAttestation:
    """What the replicas said."""

    replicas: Sequence[tuple[Replica, Attestation | ReplicaProblem]]
    """Each listed replica of all services, in the order of the file: its attestation, or why there is none."""
    contents: dict[str, dict[str, str]]
    """Content digest → definition key → digest, for every content digest that was attested and whose list a replica
    gave; each list was checked against its digest."""
    missing: list[str]
    """A sentence for each service that has fewer replicas than it must."""


async def attest_all(
    fleet: Fleet, namespace: str, deadline: Deadline, on_progress: OnProgress = silent
) -> FleetAttestation:
    """Ask each replica that is listed now.

    Raises:
        InvalidConfiguration: where a token cannot be read.
        ServiceUnavailable, RefusedByCluster: where replicas cannot be listed.
    """
    listed = await list_replicas(fleet.cluster, namespace, fleet.config)
    replicas = [replica for some in listed.values() for replica in some]
    tally = Tally(replicas, "attesting", on_progress)
    answers = await across_services(
        fleet,
        replicas,
        lambda strategy, targets: strategy.attest(targets),
        deadline,
        tally.count,
    )
    said: list[tuple[Replica, Attestation | ReplicaProblem]] = []
    attested: list[tuple[Replica, Attestation]] = []
    for replica, answer in answers:
        if not isinstance(answer, Answered):
            said.append((replica, problem_of(replica, answer)))
            continue
        stranger = identity_problem(replica, answer.value)
        said.append((replica, stranger or answer.value))
        if stranger is None:
            attested.append((replica, answer.value))
    contents = Contents()
    await contents.learn(fleet, attested, deadline)
    missing = await shortfalls(fleet.cluster, namespace, fleet.config, listed)
    return FleetAttestation(said, contents.known, missing)
