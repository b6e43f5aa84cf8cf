"""Which revisions and plans nothing needs any more, and taking them away.

Releases, requests and records stay: they are small, and say what there was. What goes are the sources of definitions
that no kept release has, and the plans of updates that ended.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

from taskroll_agent.contracts import DefinitionKey, Release, revision_name

from .bounded import run_bounded
from .connection import Cluster
from .definitions import list_definitions
from .documents import REQUEST_LABEL, TYPE_LABEL, list_documents
from .errors import NotFound
from .fence import read_fence
from .objects import KubeObject, delete_object, list_objects
from .plans import read_plan
from .records import list_records
from .releases import find_release, list_releases, walk_releases
from .requests import read_request
from .resources import CONTROLLER_REVISION


@dataclass(frozen=True)
class Prunable:
    """What may go.

    Attributes:
        objects: As they were looked at: one that was written anew since is not taken.
        kept_releases: Epochs of the releases that a rollback may still choose.
    """

    objects: list[KubeObject]
    kept_releases: list[int]

    def names(self) -> list[str]:
        return [item.name for item in self.objects]


async def find_prunable(cluster: Cluster, namespace: str, releases: list[Release], *, before: datetime) -> Prunable:
    """Look for revisions and plans that none of these releases, no custom resource and no open update needs.

    Args:
        releases: To keep.
        before: What was stored later stays: a client stores the sources of its request before the request.

    Raises:
        TamperedState: where the chain of releases, the fence or a plan was edited: then nothing can be told.
    """
    # Candidates first: what is stored while the rest is looked at is none.
    revisions = await _stored(cluster, namespace, "definition")
    plans = await _stored(cluster, namespace, "plan")
    open_updates = await _open_updates(cluster, namespace)
    needed = await _needed_by(cluster, namespace, open_updates)
    for release in releases:
        needed |= _names(release.digests().items())
    live = await list_definitions(cluster, namespace)
    needed |= _names((key, definition.entry.digest) for key, definition in live.items())
    kept_plans = open_updates | {release.request_id for release in releases}
    objects = [item for item in revisions if item.name not in needed]
    objects += [item for item in plans if item.labels.get(REQUEST_LABEL) not in kept_plans]
    old = [item for item in objects if datetime.fromisoformat(item.created_at) < before]
    return Prunable(old, [release.epoch for release in releases])


async def releases_to_keep(cluster: Cluster, namespace: str, count: int) -> list[Release]:
    """The newest releases, so many of them, and the newest good one that differs from the current: where a rollback
    without a number goes."""
    releases = await list_releases(cluster, namespace)
    taken_back = {release.request_id for release in releases if release.origin == "compensation"}
    kept = releases[:count]
    current = releases[0].content_digest() if releases else None
    for release in releases[count:]:
        if any(each.content_digest() != current and each.request_id not in taken_back for each in kept):
            break
        kept.append(release)
    return kept


async def delete_pruned(cluster: Cluster, namespace: str, prunable: Prunable) -> int:
    """Delete them; return how many were still there.

    Raises:
        Conflict: where one is another object by now; those before it are gone.
        RefusedByCluster: where these credentials may not delete: neither the worker's role nor the developer's lets.
    """

    async def one(item: KubeObject) -> bool:
        try:
            await delete_object(
                cluster,
                CONTROLLER_REVISION,
                namespace,
                item.name,
                uid=item.uid,
                resource_version=item.resource_version,
            )
        except NotFound:
            return False
        return True

    return sum(await run_bounded(prunable.objects, one))


async def _stored(cluster: Cluster, namespace: str, type: str) -> list[KubeObject]:
    return await list_objects(cluster, CONTROLLER_REVISION, namespace, labels={TYPE_LABEL: type}, metadata_only=True)


async def _open_updates(cluster: Cluster, namespace: str) -> set[str]:
    """Request ids of what was asked for and has not ended, as far as the cluster knows: started or not."""
    requests = {item.labels.get(REQUEST_LABEL, "") for item in await _stored(cluster, namespace, "request")}
    sealed = {stored.record.request_id for stored in await list_records(cluster, namespace) if stored.sealed}
    fence = await read_fence(cluster, namespace)
    fenced = {each.entry.request_id for each in (*fence.holders, *fence.line)}
    return (requests - sealed) | fenced


async def _needed_by(cluster: Cluster, namespace: str, open_updates: set[str]) -> set[str]:
    """What they name, and what any release has that was current since they were planned: a compensation goes back."""
    needed: set[str] = set()
    since: list[int] = []
    for request_id in open_updates:
        request = await read_request(cluster, namespace, request_id)
        needed |= _names(request.definitions.items())
        if request.target_release is not None:
            release = await find_release(cluster, namespace, request.target_release)
            needed |= _names(release.digests().items())
        for document in await list_documents(cluster, namespace, type="plan", request_id=request_id):
            plan = await read_plan(cluster, namespace, document.name)
            since.append(plan.base_epoch)
            needed |= _names((key, entry.digest) for key, entry in plan.base.items())
            for change in plan.changes:
                states = (change.after, change.former)
                needed |= _names((str(change.key), state.digest) for state in states if state is not None)
    if since:
        async for release in walk_releases(cluster, namespace):
            needed |= _names(release.digests().items())
            if release.epoch <= min(since):
                break
    return needed


def _names(digests: Iterable[tuple[str, str]]) -> set[str]:
    return {revision_name(DefinitionKey.parse(key), digest) for key, digest in digests}
