"""The compensation of a write: bring the exact former object back, where what stands there is our own write."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Literal

from taskroll.models.errors import ForeignWrite
from taskroll.models.plan import DefinitionChange
from taskroll_agent.contracts import DefinitionContent, canonical_json

from .bounded import settle_bounded
from .connection import Cluster
from .definition_body import definition_body
from .definitions import LiveDefinition, list_definitions, read_definition
from .errors import Conflict
from .foreign_write import differences_from_own_write, foreign_write, written_by
from .objects import create_object, delete_object, replace_object
from .rereading import rereading
from .resources import DEFINITION_RESOURCES, field_manager
from .transport import Call

Restored = Literal["restored", "already"]


def matches_former(live: LiveDefinition | None, change: DefinitionChange) -> bool:
    """Whether the live object is the former one, byte for byte.

    Compared is the canonical JSON of kind, name, labels, annotations, finalizers, ownerReferences and spec (the latter,
    and which of the metadata is managed, through the digest). The API server's own bookkeeping (uid, resourceVersion,
    generation, creation time, managedFields) cannot be brought back.
    """
    if change.former is None or live is None:
        return change.former is None and live is None
    return (
        not live.is_deleting
        and live.content.digest() == change.former.digest
        and canonical_json(live.metadata.model_dump(mode="json"))
        == canonical_json(change.former.metadata.model_dump(mode="json"))
    )


async def restore_change(
    cluster: Cluster,
    namespace: str,
    change: DefinitionChange,
    former: DefinitionContent | None,
    *,
    request_id: str,
    recovery: str = "",
) -> Restored:
    """Put the former object back, delete what was created, create again what was deleted.

    Does nothing where the former object stands there already, because the write never came to pass or was taken back
    before.

    Args:
        cluster: The API server.
        namespace: Of the definition.
        change: From the plan.
        former: The former content, from the revision that ``change.former`` names; None where the definition did not
            exist.
        request_id: The update.
        recovery: Token of the recovery that restores for the update; empty for its own workflow.

    Raises:
        ForeignWrite: where somebody else has written since. It is left as is.
        ClusterError: `Unavailable`, `Conflict` (both retryable: the latter also while finalizers keep a deleted
            object).
    """
    wanted = change.former.digest if change.former else None
    if wanted != (former.digest() if former else None):
        raise ValueError(f"{change.key}: the plan says that it was {wanted}, the content given is another one")

    async def attempt() -> Restored:
        live = await read_definition(cluster, namespace, change.key)
        if matches_former(live, change):
            return "already"
        if live is not None and live.is_deleting:
            raise _still_deleting(live)
        if found := differences_from_own_write(live, change, request_id):
            raise foreign_write(change.key, live, found, request_id)
        await _write(cluster, namespace, change, former, live, field_manager(request_id, recovery))
        return "restored"

    return await rereading(attempt, attempts=5)


async def restore_changes(
    cluster: Cluster,
    namespace: str,
    changes: Sequence[DefinitionChange],
    formers: Mapping[str, DefinitionContent],
    *,
    request_id: str,
    recovery: str = "",
    on_settled: Callable[[DefinitionChange, Restored], None] | None = None,
) -> list[Restored]:
    """Take back many changes, the last one first, eight at a time. `formers` is by definition key.

    One that fails does not stop the others. Afterwards a failure that may pass is raised before a foreign write, so
    that a retry comes as far as it can.

    Raises:
        ForeignWrite: where there are several, with one line each in `details`.
    """

    async def one(change: DefinitionChange) -> Restored:
        former = formers[str(change.key)] if change.former else None
        restored = await restore_change(cluster, namespace, change, former, request_id=request_id, recovery=recovery)
        if on_settled:
            on_settled(change, restored)
        return restored

    results, failures = await settle_bounded(list(reversed(changes)), one)
    foreign = [error for error in failures if isinstance(error, ForeignWrite)]
    for error in failures:
        if not isinstance(error, ForeignWrite):
            raise error
    if foreign:
        if len(foreign) == 1:
            raise foreign[0]
        raise ForeignWrite(
            f"somebody else wrote {len(foreign)} definitions of this update", details=[each.message for each in foreign]
        )
    return results


async def not_as_before(cluster: Cluster, namespace: str, changes: Sequence[DefinitionChange]) -> list[str]:
    """Compare all live objects with the former ones; return the keys of those that are not the same byte for byte."""
    live = await list_definitions(cluster, namespace)
    return [str(change.key) for change in changes if not matches_former(live.get(str(change.key)), change)]


async def is_touched(cluster: Cluster, namespace: str, changes: Sequence[DefinitionChange], request_id: str) -> bool:
    """Whether the update may have written any of these definitions. Where it has not, there is nothing to restore.

    One that is gone or going counts where the update would have deleted it.
    """
    live = await list_definitions(cluster, namespace)
    for change in changes:
        found = live.get(str(change.key))
        if found is not None and written_by(found, request_id):
            return True
        was_to_go = change.former is not None and change.after is None
        if was_to_go and (found is None or found.is_deleting):
            return True
    return False


async def _write(
    cluster: Cluster,
    namespace: str,
    change: DefinitionChange,
    former: DefinitionContent | None,
    live: LiveDefinition | None,
    manager: str,
) -> None:
    resource = DEFINITION_RESOURCES[change.kind]
    if former is None or change.former is None:
        assert live is not None
        await delete_object(
            cluster, resource, namespace, change.name, uid=live.uid, resource_version=live.resource_version
        )
        return
    body = definition_body(change.name, former.spec, change.former.metadata, live)
    if live is None:
        await create_object(cluster, resource, namespace, body, manager=manager)
    else:
        await replace_object(cluster, resource, namespace, body, manager=manager)


def _still_deleting(live: LiveDefinition) -> Conflict:
    call = Call("read", "", live.key.kind, live.key.name)
    held = ", ".join(live.metadata.finalizers) or "its finalizers"
    return Conflict(call, f"it is deleted but not gone yet: waits for {held}")
