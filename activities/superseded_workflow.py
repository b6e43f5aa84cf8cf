"""Workflows that run although the cluster says that their update is over, or further than they know.

Temporal has such a workflow again where it was restored from an old back-up. Its steps refuse to act, but one that
waits for people comes to no step.
"""

from collections.abc import Collection, Mapping

from temporalio.client import Client
from temporalio.service import RPCError

from taskroll.cluster.connection import Cluster
from taskroll.cluster.fence import read_fence
from taskroll.cluster.fence_state import FenceState
from taskroll.cluster.records import find_records
from taskroll.models.names import workflow_id

from .dead_workflow import RPC_TIMEOUT, Fate, fate_of, list_workflows
from .step import log

RUNNING = "TaskrollNamespace = '{}' AND ExecutionStatus = 'Running' AND WorkflowType IN ('TaskUpdate', 'TaskRecovery')"


async def tell_superseded(
    temporal: Client,
    cluster: Cluster,
    namespace: str,
    fence: FenceState,
    opened: Collection[str],
    fates: Mapping[str, Fate],
) -> list[str]:
    """Tell each of them, so that it ends as the record says, or leaves the update to a recovery.

    Args:
        temporal: Where the workflows are.
        cluster: The API server.
        namespace: Of the updates.
        fence: As it was before `fates` were asked.
        opened: Request ids of the updates whose record is not sealed.
        fates: What Temporal says of the workflows of updates that are under way.

    Returns:
        Request ids of the updates whose workflow was told.
    """
    told: list[str] = []
    running = await list_workflows(temporal, RUNNING.format(namespace))
    ids = list(dict.fromkeys(request_id for _, request_id in running if request_id not in opened))
    ended = {
        stored.record.request_id: stored.record.outcome
        for stored in await find_records(cluster, namespace, ids)
        if stored.sealed
    }
    for name, request_id in running:
        if request_id in ended:
            told += await _tell(temporal, name, request_id, f"the update has ended: {ended[request_id]}")
    behind = [
        holder
        for holder in fence.holders
        if (fate := fates.get(holder.entry.request_id)) and fate.is_running and fate.phase == "awaiting-approval"
    ]
    if behind:
        # The fence is raised after the approval, and lowered before another is asked for: a workflow that waits for one
        # while its update holds the fence, before and after it was looked at, does not know that it was given.
        still = (await read_fence(cluster, namespace)).holders
        for holder in behind:
            if holder in still and holder.recovery is None:
                request_id = holder.entry.request_id
                why = "the update was approved and is under way, and its workflow does not know of it"
                told += await _tell(temporal, workflow_id(namespace, request_id), request_id, why)
    return told


async def _tell(temporal: Client, name: str, request_id: str, why: str) -> list[str]:
    handle = temporal.get_workflow_handle(name)
    if not (await fate_of(handle)).is_running:
        return []
    log.warning("a workflow is out of date; was Temporal restored from an old back-up?", request_id=request_id, why=why)
    try:
        await handle.signal("superseded", why, rpc_timeout=RPC_TIMEOUT)
    except RPCError as error:
        # It has ended meanwhile, or the next round tells it.
        log.warning("it could not be told", request_id=request_id, error=error.message)
        return []
    return [request_id]
