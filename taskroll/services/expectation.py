"""What a replica must attest, and whether an attestation does."""

from collections.abc import Mapping

from pydantic import BaseModel, ConfigDict, Field

from taskroll_agent.contracts import Attestation
from taskroll_agent.contracts.definition import Digest

from .answers import replica_problem
from .replica import Replica, ReplicaProblem


class Expectation(BaseModel):
    """The release that shall run, and what of it is this update's own."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    epoch: int = Field(ge=0)
    """The replica must run this one, or a later one: another update may be committed meanwhile."""
    content_digest: Digest
    """Of the release of that epoch."""
    definitions: dict[str, Digest | None] | None = None
    """The closure of the update, definition key → digest, None where it shall be absent. With this, a replica that
    runs a later release counts if its classes of the closure are these: no overlapping update can have changed them.
    Without, a later release must have the same content."""

    def needs_contents(self, attestation: Attestation) -> bool:
        """Whether the attestation can only be judged with what its content digest stands for."""
        return (
            self.definitions is not None
            and attestation.epoch > self.epoch
            and attestation.content_digest != self.content_digest
        )

    def judge(
        self, replica: Replica, attestation: Attestation, contents: Mapping[str, Mapping[str, str]]
    ) -> ReplicaProblem | None:
        """Return why the replica does not count, None where it does.

        Args:
            replica: Who was asked.
            attestation: Its answer, whose nonce was checked.
            contents: Content digest → definition key → digest, as far as known and checked: see `contents.Contents`.
        """
        stranger = identity_problem(replica, attestation)
        if stranger is not None:
            return stranger
        epoch = attestation.epoch
        if epoch < self.epoch:
            because = f": {attestation.problem}" if attestation.problem else ""
            message = f"runs epoch {epoch} instead of {self.epoch}{because}"
            return replica_problem(replica, "stale", message, epoch=epoch)
        if attestation.content_digest == self.content_digest:
            return None
        if epoch == self.epoch or self.definitions is None:
            message = f"runs epoch {epoch} with content {attestation.content_digest} instead of {self.content_digest}"
            return replica_problem(replica, "other_content", message, epoch=epoch)
        live = contents.get(attestation.content_digest)
        if live is None:
            message = f"runs the later epoch {epoch}, and does not say with which definitions"
            return replica_problem(replica, "other_content", message, epoch=epoch)
        wrong = sorted(key for key, digest in self.definitions.items() if live.get(key) != digest)
        if wrong:
            names = ", ".join(wrong[:3]) + (f" and {len(wrong) - 3} more" if len(wrong) > 3 else "")
            message = f"runs the later epoch {epoch}, with other versions of {names}"
            return replica_problem(replica, "other_content", message, epoch=epoch)
        return None


def identity_problem(replica: Replica, attestation: Attestation) -> ReplicaProblem | None:
    """Say so where another pod answers at the replica's address: addresses are given to new pods soon.

    An agent without a pod uid is known by its pod's name. Nothing is known of a static address before it attests.
    """
    if not replica.is_uid_known:
        return None
    if attestation.pod_uid == replica.pod_uid or (not attestation.pod_uid and attestation.pod == replica.pod):
        return None
    message = (
        f"pod {attestation.pod} (uid {attestation.pod_uid or 'not said'}) answers at the address of uid "
        f"{replica.pod_uid}; if it is the same, set POD_NAME and POD_UID in the pod by the downward API"
    )
    return replica_problem(replica, "other_pod", message, epoch=attestation.epoch)
