"""What a request would change, made from the live definitions alone: nothing is written, no worker is asked.

It is made by the same functions as the real plan. What it lacks is what only the worker knows: the services and their
replicas, live instances, and whether the API server would take each patch.
"""

import asyncio
from collections.abc import Collection

from pydantic import BaseModel, ConfigDict, Field

from taskroll.models.errors import InvalidRequest
from taskroll.models.plan import Action
from taskroll.models.request import UpdateRequest
from taskroll.planning import (
    LiveState,
    changed_keys,
    contents_after,
    extent_of,
    foreign_edits,
    make_changes,
    refuse_bad_sources,
    wanted_entries,
)
from taskroll.tasklib.changes import ChangeSummary, describe_change, unified_diff
from taskroll_agent.contracts import DefinitionContent, ReleaseEntry

from .cluster_connection import ClusterConnection


class PlannedChange(BaseModel):
    """One definition that would change."""

    model_config = ConfigDict(extra="forbid")

    definition: str
    action: Action
    class_name: str
    module: str
    before: str | None
    """Digest of what is live; None for a creation."""
    after: str | None
    """Digest of what would be; None for a deletion."""
    what: ChangeSummary
    """What differs, in lines, fields and methods."""
    diff: str
    """Unified diff of the module's source; empty where the source does not differ, or an earlier change shows it."""


class OfflinePlan(BaseModel):
    """What a request would do now."""

    model_config = ConfigDict(extra="forbid")

    namespace: str
    changes: list[PlannedChange]
    unchanged: int
    """Definitions of the request that are live as they are."""
    closure: list[str]
    """Keys of the definitions that change or import what changes: they would be fenced."""
    task_classes: list[str]
    """Task classes of the closure: no instance of them may live while the update goes on."""
    warnings: list[str] = Field(default_factory=list[str])


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
    return await asyncio.to_thread(_plan, request, live, released, provided)


def _plan(
    request: UpdateRequest, live: LiveState, released: dict[str, ReleaseEntry], provided: Collection[str]
) -> OfflinePlan:
    wanted = wanted_entries(request.submitted(), {}, None)
    contents = {str(content.key): content for content in request.definitions}
    keys = [
        key
        for key in changed_keys(wanted, live.entries, released, exactly=False)
        # A deletion of what somebody has deleted already concerns the release alone: there is nothing to show of it.
        if key in contents or key in live.contents
    ]
    changes = make_changes(keys, wanted, contents, live)
    after = contents_after(live.contents, changes, contents)
    extent = extent_of(changes, live.contents, after)
    warnings = [*foreign_edits(keys, live.entries, released), *refuse_bad_sources(after, extent, provided)]
    shown: set[str] = set()
    planned: list[PlannedChange] = []
    for change in changes:
        key = str(change.key)
        old = live.contents.get(key)
        new = after.get(key)
        planned.append(
            PlannedChange(
                definition=key,
                action=change.action,
                class_name=change.class_name,
                module=change.module,
                before=change.former.digest if change.former else None,
                after=change.after.digest if change.after else None,
                what=describe_change(old, new),
                diff=_diff_once(old, new, shown),
            )
        )
    return OfflinePlan(
        namespace=request.namespace,
        changes=planned,
        unchanged=len(wanted) - len(changes),
        closure=extent.closure,
        task_classes=extent.task_classes,
        warnings=warnings,
    )


def _diff_once(old: DefinitionContent | None, new: DefinitionContent | None, shown: set[str]) -> str:
    """The diff, unless a definition of the same module has shown it: each of them carries the whole module."""
    diff = unified_diff(old, new)
    if diff in shown:
        return ""
    shown.add(diff)
    return diff
