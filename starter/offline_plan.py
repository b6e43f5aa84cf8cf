"""What a request would change, made from the live definitions alone: nothing is written, no worker is asked.

It is made by the same functions as the real plan. What it lacks is what only the worker knows: the services and their
replicas, live instances, and whether the API server would take each patch.
"""

import asyncio
from collections.abc import Collection

from pydantic import BaseModel, ConfigDict, Field

from taskroll.cluster.fence_enforcement import INSTALL, in_words
from taskroll.models.errors import InvalidRequest
from taskroll.models.request import UpdateRequest
from taskroll.planning import (
    LiveState,
    absent_deletions,
    adopted_entries,
    brought_along,
    changed_keys,
    contents_after,
    extent_of,
    foreign_edits,
    make_changes,
    refuse_bad_sources,
    wanted_entries,
)
from taskroll_agent.contracts import ReleaseEntry

from .cluster_connection import ClusterConnection
from .planned_change import PlannedChange, planned_changes


class OfflinePlan(BaseModel):
    """What a request would do now."""

    model_config = ConfigDict(extra="forbid")

    namespace: str
    changes: list[PlannedChange]
    unchanged: int
    """Definitions of the request that are live as they are."""
    closure: list[str]
    """Keys of the definitions that change or import what changes: they would be fenced."""
    leaves_out: list[str] = Field(default_factory=list[str])
    """Keys of definitions that are gone already, and that the next release would not have."""
    task_classes: list[str]
    """Task classes of the closure: no instance of them may live while the update goes on."""
    warnings: list[str] = Field(default_factory=list[str])

    @property
    def is_empty(self) -> bool:
        """True where the update would end as «no change»."""
        return not (self.changes or self.leaves_out)


async def make_offline_plan(
    cluster: ClusterConnection, request: UpdateRequest, provided: Collection[str] = ()
) -> OfflinePlan:
    """Compare a request with what is live and released.

    Args:
        provided: modules of the tasks' packages that services have installed themselves.

    Raises:
        InvalidSource: where the sources would not fit together with those of the other live definitions.
        InvalidRequest: for a request that goes back to a release: its content is for the worker to read.
        ServiceUnavailable: the cluster is away.
    """
    if request.target_release is not None:
        raise InvalidRequest("target_release: a dry run is for definitions")
    found = await cluster.definitions()
    live = LiveState(
        contents={key: definition.content for key, definition in found.items()},
        entries={key: definition.entry for key, definition in found.items()},
        former={key: definition.former() for key, definition in found.items()},
    )
    current = await cluster.current_release()
    released = dict(current.definitions) if current else {}
    plan = await asyncio.to_thread(_plan, request, live, released, provided)
    if plan.is_empty:
        return plan
    return plan.model_copy(update={"warnings": [*await _unfenced(cluster, request), *plan.warnings]})


async def _unfenced(cluster: ClusterConnection, request: UpdateRequest) -> list[str]:
    missing = await cluster.missing_policies()
    if not missing:
        return []
    if request.policy.fence == "required":
        return [f"the update would be rejected: {in_words(missing)}. Install them: {INSTALL}; or --fence best-effort"]
    return [f"the API server would not enforce the whole fence: {in_words(missing)}; {INSTALL}"]


def _plan(
    request: UpdateRequest, live: LiveState, released: dict[str, ReleaseEntry], provided: Collection[str]
) -> OfflinePlan:
    submitted = request.submitted()
    wanted = (
        adopted_entries(submitted, live.entries, released) if request.adopt else wanted_entries(submitted, {}, None)
    )
    contents = {str(content.key): content for content in request.definitions}
    differing = changed_keys(wanted, live.entries, released, exactly=False)
    # A deletion of what somebody has deleted already concerns the release alone.
    keys = [key for key in differing if key in contents or key in live.contents]
    changes = make_changes(keys, wanted, contents, live, adopt=request.adopt)
    after = contents_after(live.contents, changes, contents)
    extent = extent_of(changes, live.contents, after)
    edits = [] if request.adopt else foreign_edits(keys, live.entries, released)
    absent = absent_deletions(request.delete, live.entries, released)
    along = brought_along(keys, live.entries) if keys and not released else []
    warnings = [*absent, *edits, *along, *refuse_bad_sources(after, extent, keys, provided)]
    return OfflinePlan(
        namespace=request.namespace,
        changes=planned_changes(changes, live.contents, after),
        unchanged=len(wanted) - len(differing),
        closure=extent.closure,
        leaves_out=[key for key in differing if key not in keys],
        task_classes=extent.task_classes,
        warnings=warnings,
    )
