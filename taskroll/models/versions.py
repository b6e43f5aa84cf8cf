"""Which version each replica really runs, as the replicas attest it."""

from datetime import datetime

from pydantic import BaseModel, ConfigDict, Field


class ReplicaVersion(BaseModel):
    """One replica's answer, or why there is none."""

    model_config = ConfigDict(extra="forbid")

    service: str
    pod: str
    address: str
    epoch: int | None = None
    """None where the replica did not answer."""
    content_digest: str | None = None
    """Key into `VersionReport.contents`."""
    activated_at: datetime | None = None
    generations: int | None = None
    """Generations that stand in its memory."""
    former_leases: int | None = None
    """Calls in flight on generations that are not current any more."""
    memory_bytes: int | None = None
    """Resident memory of its process; None where the replica does not tell."""
    flip_ms: float | None = None
    """Milliseconds that its latest flip took; None where the replica does not tell."""
    problem: str | None = None
    """Why it does not answer, or does not run the current release."""


class VersionReport(BaseModel):
    """Service × replica × definition. Replicas on the same content share one map, so that 2,000 of them stay small."""

    model_config = ConfigDict(extra="forbid")

    namespace: str
    epoch: int
    """Of the current release; 0 where there is none."""
    content_digest: str | None
    """Of the current release."""
    replicas: list[ReplicaVersion]
    contents: dict[str, dict[str, str]] = Field(default_factory=dict[str, dict[str, str]])
    """Content digest → definition key → digest."""
    missing: list[str] = Field(default_factory=list[str])
    """A sentence for each service that has fewer replicas than it must."""
    released: dict[str, str] = Field(default_factory=dict[str, str])
    """Definition key → digest, of the current release."""
    live: dict[str, str] = Field(default_factory=dict[str, str])
    """Definition key → digest, of the custom resources."""

    def is_uniform(self) -> bool:
        """True where every replica attested the current release's content."""
        return all(replica.content_digest == self.content_digest for replica in self.replicas)

    def drifted(self) -> list[str]:
        """Keys of released definitions whose custom resource is another one, or gone."""
        return sorted(key for key, digest in self.released.items() if self.live.get(key) != digest)

    def unmanaged(self) -> list[str]:
        """Keys of definitions that are live and not released."""
        return sorted(self.live.keys() - self.released.keys())
