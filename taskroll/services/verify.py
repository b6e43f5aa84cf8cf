"""Find out whether every replica runs the release: by what it attests, not by what it was told."""

from collections import Counter
from dataclasses import dataclass, field
from datetime import datetime

from pydantic import BaseModel, ConfigDict

from taskroll_agent.contracts import Attestation

from .across import FIRST_PROBLEMS, ServiceCount, across_services, key_of
from .answers import Answered, Unreachable, problem_of
from .contents import Contents
from .deadline import Deadline
from .expectation import Expectation
from .fleet import Fleet
from .progress import OnProgress, Tally, silent
from .replica import Replica, ReplicaProblem
from .replicas import list_replicas, shortfalls

_FIRST_PAUSE, _LONGEST_PAUSE = 0.05, 1.0


class VerifyOutcome(BaseModel):
    """What the replicas attested. Lists hold the first 20, the counts beside them say how many there are."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    is_attested: bool
    """True where every listed replica of every required service attested what was expected, in one round, and the
    listing after that round named no other replica."""
    services: list[ServiceCount]
    mismatches: list[ReplicaProblem]
    """Replicas of required services that do not count, and why, as last seen."""
    mismatch_count: int
    missing: list[str]
    """Required services with fewer replicas than they must have, a sentence each."""
    ignored: list[ReplicaProblem]
    """Replicas of other services that do not run the release."""
    unverified: list[str]
    """Services whose replicas cannot show what they run; none of them is required."""
    rounds: int
    """How often replicas were asked."""
    first_activated_at: datetime | None
    """By the replicas' own clocks, of those that switched to the expected epoch while they ran. None also where some
    replicas cannot say when they left the former release."""
    last_activated_at: datetime | None
    mixed_version_window_ms: float | None
    """Milliseconds between the two; None where they are."""

    @property
    def replicas(self) -> int:
        """Replicas that attested, those of optional services among them."""
        return sum(service.done for service in self.services)


@dataclass
class _Seen:
    """What is known after the rounds so far."""

    attested: dict[tuple[str, str], Attestation] = field(default_factory=dict[tuple[str, str], Attestation])
    problems: dict[tuple[str, str], ReplicaProblem] = field(default_factory=dict[tuple[str, str], ReplicaProblem])
    rounds: int = 0
    in_one_round: bool = True
    """Whether all of `attested` comes from the same round."""


async def verify(
    fleet: Fleet,
    namespace: str,
    expectation: Expectation,
    deadline: Deadline,
    on_progress: OnProgress = silent,
) -> VerifyOutcome:
    """Ask every replica for its attestation, in rounds, until all required ones attest the release.

    Replicas are listed again in each round, so late joiners are asked too. Those that attested are not asked again
    while others are waited for; but the last word is one round in which all attest: a process that was restarted in
    between is noticed.

    Args:
        fleet: The services.
        namespace: Of the definitions and the replicas.
        expectation: What they must attest.
        deadline: Until when to ask again.
        on_progress: Told (attested, replicas, note).

    Returns:
        The outcome, also where the deadline passed; failures of replicas are in it, not raised.

    Raises:
        InvalidConfiguration: where a token cannot be read.
        ServiceUnavailable, RefusedByCluster: where replicas cannot be listed.
    """
    required = {service.name for service in fleet.config.services if service.required}
    seen = _Seen()
    contents = Contents()
    pause = _FIRST_PAUSE
    while True:
        listed = await list_replicas(fleet.cluster, namespace, fleet.config)
        replicas = [replica for some in listed.values() for replica in some]
        missing = await shortfalls(fleet.cluster, namespace, fleet.config, listed)
        outstanding = [r for r in replicas if r.service in required and key_of(r) not in seen.attested]
        if not outstanding and not missing:
            if seen.rounds and seen.in_one_round:
                break
            # All have attested, but over several rounds: once more, all of them.
            seen.attested.clear()
        elif seen.rounds:
            await deadline.pause(pause)
            pause = min(2 * pause, _LONGEST_PAUSE)
        if deadline.is_over:
            break
        await _round(fleet, replicas, expectation, contents, seen, deadline, on_progress)
    return _outcome(fleet, replicas, missing, expectation, seen)


async def _round(
    fleet: Fleet,
    replicas: list[Replica],
    expectation: Expectation,
    contents: Contents,
    seen: _Seen,
    deadline: Deadline,
    on_progress: OnProgress,
) -> None:
    """Ask all replicas that have not attested yet, and judge their answers."""
    seen.in_one_round = not seen.attested
    seen.rounds += 1
    todo = [replica for replica in replicas if key_of(replica) not in seen.attested]
    tally = Tally(replicas, f"verifying, round {seen.rounds}", on_progress, todo)
    answers = await across_services(
        fleet,
        todo,
        lambda strategy, targets: strategy.attest(targets, once=True),
        deadline,
    )
    said = [(replica, answer.value) for replica, answer in answers if isinstance(answer, Answered)]
    unclear = [(replica, attestation) for replica, attestation in said if expectation.needs_contents(attestation)]
    await contents.learn(fleet, unclear, deadline)
    for replica, answer in answers:
        key = key_of(replica)
        if not isinstance(answer, Answered):
            seen.problems[key] = problem_of(replica, answer)
        elif (problem := expectation.judge(replica, answer.value, contents.known)) is not None:
            seen.problems[key] = problem
        else:
            seen.attested[key] = answer.value
            seen.problems.pop(key, None)
            tally.count(replica)


def _outcome(
    fleet: Fleet, replicas: list[Replica], missing: list[str], expectation: Expectation, seen: _Seen
) -> VerifyOutcome:
    required = {service.name for service in fleet.config.services if service.required}
    listed = Counter(replica.service for replica in replicas)
    attested = Counter(replica.service for replica in replicas if key_of(replica) in seen.attested)
    not_attested = [
        seen.problems.get(key_of(replica)) or problem_of(replica, Unreachable("not asked: no time was left"))
        for replica in replicas
        if key_of(replica) not in seen.attested
    ]
    mismatches = [problem for problem in not_attested if problem.service in required]
    first, last = _window([a for a in seen.attested.values() if a.epoch == expectation.epoch])
    silent_services = {s.name for s in fleet.config.services if not fleet.strategy(s).traits.tells_moment}
    if any(service in silent_services for service, _ in seen.attested):
        first = last = None
    return VerifyOutcome(
        is_attested=not mismatches and not missing and seen.in_one_round,
        services=[
            ServiceCount(
                service=service.name,
                required=service.required,
                replicas=listed[service.name],
                done=attested[service.name],
            )
            for service in fleet.config.services
        ],
        mismatches=mismatches[:FIRST_PROBLEMS],
        mismatch_count=len(mismatches),
        missing=missing,
        ignored=[problem for problem in not_attested if problem.service not in required][:FIRST_PROBLEMS],
        unverified=sorted({p.service for p in not_attested if p.reason == "unverified"}),
        rounds=seen.rounds,
        first_activated_at=first,
        last_activated_at=last,
        mixed_version_window_ms=(last - first).total_seconds() * 1000 if first and last else None,
    )


def _window(attestations: list[Attestation]) -> tuple[datetime | None, datetime | None]:
    """When the first and the last process switched to the epoch.

    A process whose life began after the first one had switched came up on the new release: it never served the former
    one, however late it came, so it does not lengthen the window.
    """
    switched = [(a.activated_at, a.started_at) for a in attestations if a.activated_at is not None]
    if not switched:
        return None, None
    first = min(activated for activated, _ in switched)
    return first, max((activated for activated, started in switched if started <= first), default=first)
