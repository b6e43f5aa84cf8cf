"""The live definitions as planning wants them."""

import asyncio

from taskroll.cluster.connection import Cluster
from taskroll.cluster.definitions import list_definitions
from taskroll.cluster.revisions import read_definition_revisions
from taskroll.models.plan import Plan
from taskroll.planning import LiveState, contents_after, extent_of


async def read_live_state(cluster: Cluster, namespace: str) -> LiveState:
    """Read all definitions of a namespace."""
    live = await list_definitions(cluster, namespace)
    return LiveState(
        contents={key: definition.content for key, definition in live.items()},
        entries={key: definition.entry for key, definition in live.items()},
        former={key: definition.former() for key, definition in live.items()},
    )


async def is_plan_current(cluster: Cluster, namespace: str, plan: Plan) -> bool:
    """Whether what is live still is what the plan was made from, as far as the plan depends on it."""
    live = await read_live_state(cluster, namespace)
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
