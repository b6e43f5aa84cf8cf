"""The commit: store a release, then move the pointer to it in one conditional write."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Literal, cast

from taskroll.models.errors import TakenBack, TamperedState
from taskroll_agent.contracts import POINTER_NAME, Release, ReleaseEntry, ReleasePointer, release_name

from .config_maps import swap_config_map
from .connection import Cluster
from .documents import DocumentConflict, list_documents, write_document
from .releases import StoredPointer, epoch_in, read_pointer, read_stored_pointer, release_of, walk_releases
from .rereading import rereading

Origin = Literal["update", "rollback", "adoption", "compensation"]


@dataclass(frozen=True)
class Committed:
    """What a commit left in place.

    Attributes:
        epoch: Of the release.
        release: Name of its object.
        content_digest: Over definition key → digest.
        previous_epoch: Of the release before; 0 where there was none.
        already: Whether an earlier call had made it.
    """

    epoch: int
    release: str
    content_digest: str
    previous_epoch: int
    already: bool


@dataclass(frozen=True)
class ReleaseOrder:
    """What to commit.

    Attributes:
        request_id: The update.
        origin: Why; with the request id it says whether the commit was made before.
        changes: Definition key → its entry, None where it is deleted; laid over the current release.
        base: All definitions as they were live, for a namespace that has no release yet.
        requested_by: Who.
        reason: Why, in their words.
        git_commit: Where the sources came from.
        now: When; the time that the release carries.
        recovery: Token of the recovery that commits for the update; empty for its own workflow.
    """

    request_id: str
    origin: Origin
    changes: Mapping[str, ReleaseEntry | None]
    base: Mapping[str, ReleaseEntry]
    requested_by: str
    reason: str
    git_commit: str | None
    now: datetime
    recovery: str = ""


async def commit_release(cluster: Cluster, namespace: str, order: ReleaseOrder) -> Committed:
    """Lay the changes over the current release and make the result the current one.

    Where another update commits at the same moment, this one lays its changes over that release and takes the next
    epoch. Called again after its answer was lost, it finds its release in the chain, under however many newer ones.

    Raises:
        TamperedState: where pointer or chain were edited.
        ClusterError: `Unavailable`, `Conflict` (retryable), `TooLarge`.
    """

    async def attempt() -> Committed:
        stored = await read_stored_pointer(cluster, namespace)
        # Looked for only after the pointer was read: if the commit comes to pass later, the swap below conflicts.
        if done := await _found(cluster, namespace, order, stored):
            return done
        release = await _store_next(cluster, namespace, order, stored)
        name = release_name(release.epoch, release.request_id)
        pointer = ReleasePointer(
            epoch=release.epoch, release=name, request_id=order.request_id, content_digest=release.content_digest()
        )
        await swap_config_map(
            cluster,
            namespace,
            POINTER_NAME,
            stored.source if stored else None,
            pointer.data(),
            request_id=order.request_id,
            recovery=order.recovery,
        )
        return _committed(release, already=False)

    return await rereading(attempt)


async def find_commit(cluster: Cluster, namespace: str, request_id: str, origin: Origin) -> Committed | None:
    """The release that this update committed with that origin, if it did, under however many newer ones."""
    pointer = await read_pointer(cluster, namespace)
    if pointer is None:
        return None
    return await _find_in_chain(cluster, namespace, request_id, origin, pointer)


async def check_not_taken_back(cluster: Cluster, namespace: str, request_id: str) -> None:
    """See that the update has not committed the former definitions again.

    Raises:
        TakenBack: where it has, and its workflow does not know: Temporal has it from an old back-up.
    """
    back = await find_commit(cluster, namespace, request_id, "compensation")
    if back is not None:
        raise TakenBack(f"release {back.epoch} has taken update {request_id!r} back already")


async def _found(
    cluster: Cluster, namespace: str, order: ReleaseOrder, stored: StoredPointer | None
) -> Committed | None:
    if stored is None:
        return None
    return await _find_in_chain(cluster, namespace, order.request_id, order.origin, stored.pointer)


async def _find_in_chain(
    cluster: Cluster, namespace: str, request_id: str, origin: Origin, pointer: ReleasePointer
) -> Committed | None:
    # Stored is not committed: a release counts when the chain has it. The chain is walked only as far as the oldest
    # candidate.
    documents = await list_documents(cluster, namespace, type="release", request_id=request_id)
    if not documents:
        return None
    names = {document.name for document in documents}
    oldest = min(epoch_in(name) for name in names)
    async for release in walk_releases(cluster, namespace, pointer):
        name = release_name(release.epoch, release.request_id)
        if name in names and release.origin == origin:
            return _committed(release, already=True)
        if release.epoch <= oldest:
            return None
    return None


async def _store_next(cluster: Cluster, namespace: str, order: ReleaseOrder, stored: StoredPointer | None) -> Release:
    """Store the release that would follow the current one; return it as it is stored."""
    current = await release_of(cluster, namespace, stored.pointer) if stored else None
    if current is None:
        await _check_never_committed(cluster, namespace)
    definitions = dict(current.definitions if current else order.base)
    for key, entry in order.changes.items():
        if entry is None:
            definitions.pop(key, None)
        else:
            definitions[key] = entry
    release = Release(
        epoch=current.epoch + 1 if current else 1,
        request_id=order.request_id,
        origin=order.origin,
        previous=release_name(current.epoch, current.request_id) if current else None,
        created_at=order.now,
        requested_by=order.requested_by,
        reason=order.reason,
        git_commit=order.git_commit,
        definitions=dict(sorted(definitions.items())),
    )
    while True:
        try:
            await write_document(
                cluster,
                namespace,
                type="release",
                name=release_name(release.epoch, release.request_id),
                data=release.model_dump(mode="json"),
                request_id=order.request_id,
                revision=release.epoch,
            )
        except DocumentConflict as conflict:
            known, wanted = _fields(conflict.known.data), release.model_dump(mode="json")
            if {**known, "created_at": None} == {**wanted, "created_at": None}:
                # An earlier attempt stored it and got no further: the same release, with that attempt's time.
                return Release.model_validate(known)
            # The same update stored another one for this epoch and never committed it. Epochs may have gaps.
            release = release.model_copy(update={"epoch": release.epoch + 1})
        else:
            return release


async def _check_never_committed(cluster: Cluster, namespace: str) -> None:
    """Without a pointer there must be no second release: epochs would begin at 1 again, and no agent would follow."""
    for document in await list_documents(cluster, namespace, type="release"):
        if _fields(document.data).get("previous"):
            raise TamperedState(
                f"ConfigMap/{POINTER_NAME} in {namespace} is gone, but {document.name} is stored: "
                "the pointer was deleted; restore it before the next update"
            )


def _committed(release: Release, *, already: bool) -> Committed:
    return Committed(
        epoch=release.epoch,
        release=release_name(release.epoch, release.request_id),
        content_digest=release.content_digest(),
        previous_epoch=epoch_in(release.previous) if release.previous else 0,
        already=already,
    )


def _fields(data: object) -> dict[str, object]:
    return cast("dict[str, object]", data) if isinstance(data, dict) else {}
