"""Ask each replica which version it runs, whatever that is."""

from dataclasses import dataclass

from temporalio import activity

from taskroll.cluster.connection import Cluster
from taskroll.cluster.definitions import list_definitions
from taskroll.cluster.releases import read_pointer, release_of
from taskroll.models.errors import TamperedState
from taskroll.models.versions import ReplicaVersion, VersionReport
from taskroll.services.attest import attest_all
from taskroll.services.deadline import Deadline
from taskroll.services.replica import Replica, ReplicaProblem
from taskroll_agent.contracts import Attestation, ReleasePointer

from .services_in_reach import ServicesInReach

BUDGET = 20.0
"""Seconds; a replica that takes longer is reported as not answering."""


@dataclass
class AttestReplicas:
    cluster: Cluster
    services: ServicesInReach

    @activity.defn(name="attest-replicas")
    async def run(self, namespace: str) -> VersionReport:
        """Report what each replica attests. One that does not answer is in the report, with the reason."""
        pointer = await read_pointer(self.cluster, namespace)
        released, live = await self._definitions(namespace, pointer)
        attested = await attest_all(self.services.fleet, namespace, Deadline.after(BUDGET))
        return VersionReport(
            namespace=namespace,
            epoch=pointer.epoch if pointer else 0,
            content_digest=pointer.content_digest if pointer else None,
            replicas=[_version(replica, answer) for replica, answer in attested.replicas],
            contents=attested.contents,
            missing=attested.missing,
            released=released,
            live=live,
        )

    async def _definitions(
        self, namespace: str, pointer: ReleasePointer | None
    ) -> tuple[dict[str, str], dict[str, str]]:
        """Digests as released and as live; neither where the release cannot be read, since all would differ from it."""
        try:
            release = await release_of(self.cluster, namespace, pointer) if pointer else None
        except TamperedState:
            return {}, {}
        live = await list_definitions(self.cluster, namespace)
        return (
            release.digests() if release else {},
            {key: definition.entry.digest for key, definition in live.items()},
        )


def _version(replica: Replica, answer: Attestation | ReplicaProblem) -> ReplicaVersion:
    address = replica.endpoint
    if isinstance(answer, ReplicaProblem):
        return ReplicaVersion(service=replica.service, pod=replica.pod, address=address, problem=answer.message)
    return ReplicaVersion(
        service=replica.service,
        pod=replica.pod,
        address=address,
        epoch=answer.epoch,
        content_digest=answer.content_digest,
        activated_at=answer.activated_at,
        generations=answer.generations,
        former_leases=sum(one.leases for one in answer.standing if not one.current),
        memory_bytes=answer.memory_bytes,
        flip_ms=answer.flip_ms,
        problem=answer.problem,
    )
