"""Workflows that run although the cluster says that their update is over, or further than they know.

Temporal has such a workflow again where it was restored from an old back-up. Its steps refuse to act, but one that
waits for people comes to no step.
"""

from collections.abc import Mapping

from temporalio.client import Client
from temporalio.service import RPCError

from taskroll.cluster.connection import Cluster
from taskroll.cluster.fence import read_fence
from taskroll.cluster.fence_state import FenceState
from taskroll.cluster.records import find_records
from taskroll.models.names import workflow_id

from .dead_workflow import RPC_TIMEOUT, Fate, fate_of
from .step import log

RUNNING = "TaskrollNamespace = '{}' AND ExecutionStatus = 'Running' AND WorkflowType IN ('TaskUpdate', 'TaskRecovery')"


async def tell_superseded(
    temporal: Client, cluster: Cluster, namespace: str, fence: FenceState, fates: Mapping[str, Fate]
) -> list[str]:
    """Tell each of them, so that it ends as the record says, or leaves the update to a recovery.

    Args:
        temporal: Where the workflows are.
        cluster: The API server.
        namespace: Of the updates.
        fence: As it was before `fates` were asked.
        fates: What Temporal says of the workflows of updates that are under way.

    Returns:
        Request ids of the updates whose workflow was told.
    """
    told: list[str] = []
    running = await _running(temporal, namespace)
    ids = list(dict.fromkeys(request_id for _, request_id in running))
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


async def _running(temporal: Client, namespace: str) -> list[tuple[str, str]]:
    """Workflow id and request id of each update and recovery that runs, as far as the list is up to date."""
    try:
        return [
            (found.id, found.id.rpartition("/")[2])
            async for found in temporal.list_workflows(RUNNING.format(namespace), rpc_timeout=RPC_TIMEOUT)
        ]
    except RPCError as error:
        log.warning("running workflows could not be listed", error=error.message)
        return []


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
