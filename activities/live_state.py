"""The live definitions as planning wants them."""

import asyncio
from collections.abc import Mapping

from taskroll.cluster.connection import Cluster
from taskroll.cluster.definitions import LiveDefinition, list_definitions
from taskroll.cluster.foreign_write import differences_from_own_write
from taskroll.cluster.revisions import missing_revisions, read_definition_revisions
from taskroll.models.plan import Plan
from taskroll.planning import LiveState, contents_after, extent_of


async def read_live_state(cluster: Cluster, namespace: str) -> LiveState:
    """Read all definitions of a namespace."""
    return _state(await list_definitions(cluster, namespace))


async def is_plan_current(cluster: Cluster, namespace: str, plan: Plan, *, may_have_written: bool = False) -> bool:
    """Whether what is live still is what the plan was made from, as far as the plan depends on it.

    Args:
        cluster: The API server.
        namespace: Of the definitions.
        plan: The plan.
        may_have_written: The update may have begun to carry the plan out. What it wrote itself is no drift then.
    """
    found = await list_definitions(cluster, namespace)
    live = _state(found)
    if may_have_written:
        live = await _before_own_writes(cluster, namespace, plan, found, live)
    now = plan.model_copy(
        update={
            "base": dict(live.entries),
            "changes": [
                change.model_copy(update={"former": live.former.get(str(change.key))}) for change in plan.changes
            ],
        }
    )
    if now.basis_digest() != plan.basis_digest():
        return False
    wanted = await read_definition_revisions(
        cluster,
        namespace,
        {str(change.key): change.after.digest for change in plan.changes if change.after is not None},
    )
    after = contents_after(live.contents, plan.changes, wanted)
    # Parsing 200 sources takes a good part of a second: not on the event loop.
    extent = await asyncio.to_thread(extent_of, plan.changes, live.contents, after)
    return extent.closure == plan.closure


def _state(found: Mapping[str, LiveDefinition]) -> LiveState:
    return LiveState(
        contents={key: definition.content for key, definition in found.items()},
        entries={key: definition.entry for key, definition in found.items()},
        former={key: definition.former() for key, definition in found.items()},
    )


async def _before_own_writes(
    cluster: Cluster, namespace: str, plan: Plan, found: Mapping[str, LiveDefinition], live: LiveState
) -> LiveState:
    """The live state with what the update itself wrote put back, as far as its former sources are stored."""
    written = [
        change
        for change in plan.written()
        if not differences_from_own_write(found.get(str(change.key)), change, plan.request_id)
    ]
    digests = {str(change.key): change.former.digest for change in written if change.former is not None}
    lost = set(await missing_revisions(cluster, namespace, digests))
    known = await read_definition_revisions(
        cluster, namespace, {key: digest for key, digest in digests.items() if key not in lost}
    )
    contents, entries, former = dict(live.contents), dict(live.entries), dict(live.former)
    for change in written:
        key = str(change.key)
        if key in lost:
            continue
        for kept in (contents, entries, former):
            kept.pop(key, None)
        if change.former is not None:
            contents[key], entries[key], former[key] = known[key], plan.base[key], change.former
    return LiveState(contents=contents, entries=entries, former=former)
