"""A recovery's mark on the definitions that its update was to change or delete: whoever read them before is late.

Each write of taskroll has the resourceVersion that was read as its precondition. A delete names no writer, so the
admission policies cannot tell a late one; but it meets no more the state that was read before the mark. Who reads again
finds the mark. That holds without the policies too.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime

from taskroll.models.errors import TakenOver
from taskroll.models.plan import DefinitionChange

from .bounded import run_bounded
from .connection import Cluster
from .definitions import LiveDefinition, read_definition
from .errors import NotFound
from .objects import replace_object
from .rereading import rereading
from .resources import DEFINITION_RESOURCES, field_manager
from .transport import JsonObject

CLAIM = "Apply"
"""Operation of the mark in ``managedFields``: taskroll writes definitions by updates alone."""


async def claim_definitions(
    cluster: Cluster, namespace: str, changes: Sequence[DefinitionChange], *, request_id: str, recovery: str
) -> int:
    """Mark those of them that stand; return how many. What they say stays, byte for byte.

    Raises:
        RefusedByCluster: where the API server refuses it.
        ClusterError: `Unavailable`, `Conflict` (both retryable).
    """
    manager = field_manager(request_id, recovery)

    async def one(change: DefinitionChange) -> bool:
        async def attempt() -> bool:
            live = await read_definition(cluster, namespace, change.key)
            if live is None or live.is_deleting:
                return False
            if not _is_marked(live, manager):
                resource = DEFINITION_RESOURCES[change.kind]
                await replace_object(cluster, resource, namespace, _marked(live, manager), manager=manager)
            return True

        try:
            return await rereading(attempt)
        except NotFound:
            return False

    return sum(await run_bounded([change for change in changes if change.former is not None], one))


def refuse_what_is_claimed(live: LiveDefinition | None, request_id: str) -> None:
    """See that no recovery has marked the definition before the update's own workflow writes it.

    Raises:
        TakenOver: where one has.
    """
    prefix = f"{field_manager(request_id)}."
    if live is not None and any(writer.manager.startswith(prefix) for writer in live.writers):
        raise TakenOver(f"{live.key} is under a recovery of update {request_id!r}: whoever else writes for it is late")


def _is_marked(live: LiveDefinition, manager: str) -> bool:
    return any(writer.manager == manager and writer.operation == CLAIM for writer in live.writers)


def _marked(live: LiveDefinition, manager: str) -> JsonObject:
    mark: JsonObject = {
        "manager": manager,
        "operation": CLAIM,
        "apiVersion": live.source.raw["apiVersion"],
        "time": datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        "fieldsType": "FieldsV1",
        "fieldsV1": {"f:spec": {"f:taskClassName": {}}},
    }
    meta = live.source.meta
    return {**live.source.raw, "metadata": {**meta, "managedFields": [*(meta.get("managedFields") or []), mark]}}
