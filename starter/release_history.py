"""The releases of a namespace, with how the update behind each ended."""

from datetime import datetime

from pydantic import BaseModel, ConfigDict

from taskroll.models.record import UpdateRecord
from taskroll.models.status import Outcome
from taskroll_agent.contracts import Release

from .cluster_connection import ClusterConnection
from .rollback import Restorable


class ReleaseLine(BaseModel):
    """One release."""

    model_config = ConfigDict(extra="forbid")

    epoch: int
    request_id: str
    origin: str
    """``update``, ``rollback``, ``adoption``, or ``compensation``: put the former content back for an update that
    failed."""
    requested_by: str
    reason: str = ""
    git_commit: str | None = None
    git_dirty: bool | None = None
    created_at: datetime
    content_digest: str
    definitions: int
    """How many it lists."""
    outcome: Outcome | None = None
    """Of the update, from its record; None while it runs."""
    is_current: bool
    is_taken_back: bool
    """True for one that failed after it was committed: no rollback may choose it."""


async def read_history(cluster: ClusterConnection, limit: int | None = None) -> list[ReleaseLine]:
    """Every release that was ever current, newest first. Needs no Temporal.

    Args:
        limit: How many, and then no more are read: what took a release back is newer than it. None for all.
    """
    releases = await cluster.releases() if limit is None else await cluster.latest_releases(limit)
    known = Restorable.of(releases)
    request_ids = list(dict.fromkeys(release.request_id for release in releases))
    records = {stored.record.request_id: stored.record for stored in await cluster.records(request_ids)}
    return [_line(release, known, records.get(release.request_id)) for release in releases]


def _line(release: Release, known: Restorable, record: UpdateRecord | None) -> ReleaseLine:
    return ReleaseLine(
        epoch=release.epoch,
        request_id=release.request_id,
        origin=release.origin,
        requested_by=release.requested_by,
        reason=release.reason,
        git_commit=release.git_commit,
        git_dirty=record.git_dirty if record else None,
        created_at=release.created_at,
        content_digest=release.content_digest(),
        definitions=len(release.definitions),
        outcome=record.outcome if record else None,
        is_current=known.current is not None and release.epoch == known.current.epoch,
        is_taken_back=release.epoch in known.taken_back,
    )
