"""How many releases stay restorable: the rest of the stored sources can go."""

from datetime import UTC, datetime, timedelta

from pydantic import BaseModel, ConfigDict

from taskroll.cluster.connection import Cluster
from taskroll.cluster.pruning import delete_pruned, find_prunable, releases_to_keep


class Pruned(BaseModel):
    """What was deleted, or would be."""

    model_config = ConfigDict(extra="forbid")

    namespace: str
    names: list[str]
    """Of the ControllerRevisions."""
    kept_releases: list[int]
    """Epochs of those that a rollback can choose."""


async def prune(cluster: Cluster, namespace: str, keep: int, *, older_than: float, dry_run: bool) -> Pruned:
    """Delete what the newest `keep` releases, the custom resources and the open updates do not need.

    Args:
        older_than: Seconds; what was stored later stays.

    Raises:
        RefusedByCluster: these credentials may not delete it.
        TamperedState: where it cannot be told what is needed.
    """
    releases = await releases_to_keep(cluster, namespace, keep)
    before = datetime.now(UTC) - timedelta(seconds=older_than)
    prunable = await find_prunable(cluster, namespace, releases, before=before)
    if not dry_run:
        await delete_pruned(cluster, namespace, prunable)
    return Pruned(namespace=namespace, names=sorted(prunable.names()), kept_releases=prunable.kept_releases)
