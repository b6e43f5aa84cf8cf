"""What content digests stand for: asked from one replica per digest instead of from all.

Two thousand replicas on the same release would send the same list of definitions two thousand times. A content digest
is made from that list, so one replica's list, checked against the digest, holds for all that attest the digest.
"""

from collections.abc import Iterable

from taskroll_agent.contracts import Attestation, content_digest

from .across import across_services
from .answers import Answered
from .deadline import Deadline
from .fleet import Fleet
from .replica import Replica

_TRIES = 3


class Contents:
    """Content digest → definition key → digest, as far as asked."""

    def __init__(self) -> None:
        self.known: dict[str, dict[str, str]] = {}

    async def learn(self, fleet: Fleet, attested: Iterable[tuple[Replica, Attestation]], deadline: Deadline) -> None:
        """Ask for each digest that is not known yet; where the first replica does not tell, up to two others."""
        who: dict[str, list[Replica]] = {}
        for replica, attestation in attested:
            if attestation.content_digest not in self.known:
                who.setdefault(attestation.content_digest, []).append(replica)
        for number in range(_TRIES):
            asked = [some[number] for digest, some in who.items() if digest not in self.known and number < len(some)]
            if not asked:
                return
            answers = await across_services(
                fleet,
                asked,
                lambda strategy, targets: strategy.attest(targets, full=True),
                deadline,
            )
            for _, answer in answers:
                if isinstance(answer, Answered):
                    self._take(answer.value)

    def _take(self, attestation: Attestation) -> None:
        # The replica may have flipped since it was asked first: what counts is that list and digest fit together.
        listed = attestation.definitions
        if listed is not None and content_digest(listed) == attestation.content_digest:
            self.known[attestation.content_digest] = listed
