"""Which release a pod was started on, told from its age: for services that read the custom resources when they start.

All moments but one are by the API server's own clock, in whole seconds: when the pod was created, and when the release
was stored (``creationTimestamp`` of its ``ControllerRevision``). A release is stored after its custom resources were
written, on the way back too. So a pod that was created in a later second has read these or newer ones. Within the same
second only the annotation that taskroll restarted the pod by tells: that is written after the release.

The exception is a pod that was not touched by an update that was taken back. It became ready, by its kubelet's clock,
before that update had even a plan, so it runs what was released before, which is what was released again.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime

from taskroll.cluster.connection import Cluster
from taskroll.cluster.documents import list_documents, read_document
from taskroll.cluster.releases import read_pointer
from taskroll_agent.contracts import Release, release_name

from .replica import Replica

_LOOK_BACK = 20
"""Releases that are read at most: a pod that is older runs something that nobody asks for."""


@dataclass(frozen=True)
class StoredRelease:
    """A release and when it was stored."""

    release: Release
    stored_at: datetime

    @property
    def name(self) -> str:
        return release_name(self.release.epoch, self.release.request_id)


@dataclass
class PodReleases:
    """The releases of one namespace, newest first, read as far as somebody needs them. For one round of questions."""

    cluster: Cluster
    namespace: str
    _chain: list[StoredRelease] = field(default_factory=list[StoredRelease])

    async def of(self, replica: Replica) -> StoredRelease | None:
        """The release that the pod runs; None where nothing shows that it runs one of the last 20.

        Raises:
            TamperedState: where the release pointer was edited by hand.
            ClusterError: where releases cannot be read.
        """
        created = replica.created_at
        if created is None:
            return None
        for index in range(_LOOK_BACK):
            stored = await self._at(index)
            if stored is None:
                return None
            restarted_for_it = stored.release.epoch <= replica.restarted_for <= await self.newest_epoch()
            if created > stored.stored_at or (created == stored.stored_at and restarted_for_it):
                return stored
            if index == 0 and await self._is_from_before(replica, stored):
                return stored
        return None

    async def newest_epoch(self) -> int:
        """The epoch of the current release; 0 before the first."""
        newest = await self._at(0)
        return newest.release.epoch if newest else 0

    async def _is_from_before(self, replica: Replica, newest: StoredRelease) -> bool:
        """Whether the newest release takes back an update that this pod has seen nothing of."""
        if newest.release.origin != "compensation" or replica.ready_since is None or replica.created_at is None:
            return False
        request_id = newest.release.request_id
        plans = await list_documents(self.cluster, self.namespace, type="plan", request_id=request_id)
        began = min((datetime.fromisoformat(plan.created_at) for plan in plans), default=None)
        if began is None or replica.ready_since >= began:
            return False
        index = 1
        while (before := await self._at(index)) is not None and before.release.request_id == request_id:
            index += 1
        # Another update's release in between had the pod replaced, if it ended well; nothing is known if it did not.
        return before is None or replica.created_at > before.stored_at

    async def _at(self, index: int) -> StoredRelease | None:
        while len(self._chain) <= index:
            name = await self._next_name()
            if name is None:
                return None
            document = await read_document(self.cluster, self.namespace, name, type="release")
            self._chain.append(
                StoredRelease(Release.model_validate(document.data), datetime.fromisoformat(document.created_at))
            )
        return self._chain[index]

    async def _next_name(self) -> str | None:
        if self._chain:
            return self._chain[-1].release.previous
        pointer = await read_pointer(self.cluster, self.namespace)
        return pointer.release if pointer else None
