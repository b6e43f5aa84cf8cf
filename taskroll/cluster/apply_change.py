"""Write one definition's change, if the definition still is what the plan was made from."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Literal

from taskroll.models.errors import RefusedByCluster
from taskroll.models.plan import DefinitionChange
from taskroll_agent.contracts import DefinitionContent

from .bounded import run_bounded, settle_bounded
from .claim_definitions import refuse_what_is_claimed
from .connection import Cluster
from .definition_body import definition_body
from .definitions import LiveDefinition, live_from_object, read_definition
from .foreign_write import differences_from, differences_from_own_write, foreign_write
from .managed_metadata import check_reserved, compose_metadata
from .objects import KubeObject, create_object, delete_object, replace_object
from .rereading import rereading
from .resources import DEFINITION_RESOURCES, field_manager

Applied = Literal["written", "already"]


async def apply_change(
    cluster: Cluster,
    namespace: str,
    change: DefinitionChange,
    content: DefinitionContent | None,
    *,
    request_id: str,
    dry_run: bool = False,
) -> Applied:
    """Create, change or delete one definition.

    Labels, annotations, finalizers and owner references of others stay. Called again after its answer was lost, it
    finds its own write and says ``already``. A definition that somebody else deleted first counts as deleted.

    Args:
        cluster: The API server.
        namespace: Of the definition.
        change: From the plan; its `former` is the precondition.
        content: What the definition shall be, with the digest of ``change.after``; None for a deletion.
        request_id: The update; each write carries it as its field manager.
        dry_run: Ask the API server whether it would accept the write, and change nothing.

    Raises:
        ForeignWrite: where the definition is neither what the plan was made from nor what this update wrote. It is left
            as is.
        RefusedByCluster: where the API server refuses it (422, 403), or would store something else than was sent.
        TakenOver: where a recovery of the update has marked or written the definition.
        ClusterError: `Unavailable`, `Conflict` (both retryable).
    """
    _check_arguments(change, content)

    async def attempt() -> Applied:
        live = await read_definition(cluster, namespace, change.key)
        refuse_what_is_claimed(live, request_id)
        found = differences_from(live, change.former)
        if _is_applied(live, change, request_id) or (change.action == "adopt" and not found):
            return "already"
        if found:
            raise foreign_write(change.key, live, found, request_id)
        if content is None:
            assert live is not None
            await _delete(cluster, namespace, live, dry_run=dry_run)
        else:
            stored = await _write(cluster, namespace, change, content, live, request_id=request_id, dry_run=dry_run)
            _check_stored(content, live_from_object(change.kind, stored))
        return "written"

    return await rereading(attempt)


async def apply_changes(
    cluster: Cluster,
    namespace: str,
    changes: Sequence[DefinitionChange],
    contents: Mapping[str, DefinitionContent],
    *,
    request_id: str,
    on_settled: Callable[[DefinitionChange, Applied], None] | None = None,
) -> list[Applied]:
    """Write many changes, started in this order, eight at a time. `contents` is by definition key.

    At the first failure no more are started; when those under way are settled, it is raised.
    """

    async def one(change: DefinitionChange) -> Applied:
        content = contents[str(change.key)] if change.after else None
        applied = await apply_change(cluster, namespace, change, content, request_id=request_id)
        if on_settled:
            on_settled(change, applied)
        return applied

    return await run_bounded(changes, one)


async def dry_run_changes(
    cluster: Cluster,
    namespace: str,
    changes: Sequence[DefinitionChange],
    contents: Mapping[str, DefinitionContent],
    *,
    request_id: str,
) -> None:
    """Ask the API server whether it would accept all of these changes. Nothing is written.

    Raises:
        RefusedByCluster: with one line per refused change in `details`.
        TaskrollError: the first other failure, where there is one.
    """

    async def one(change: DefinitionChange) -> None:
        content = contents[str(change.key)] if change.after else None
        await apply_change(cluster, namespace, change, content, request_id=request_id, dry_run=True)

    _, failures = await settle_bounded(changes, one)
    refusals = [error for error in failures if isinstance(error, RefusedByCluster)]
    for error in failures:
        if not isinstance(error, RefusedByCluster):
            raise error
    if refusals:
        lines = [refusal.message for refusal in refusals]
        more = f" (and {len(lines) - 1} more)" if len(lines) > 1 else ""
        raise RefusedByCluster(f"{lines[0]}{more}", details=lines) from refusals[0]


def _is_applied(live: LiveDefinition | None, change: DefinitionChange, request_id: str) -> bool:
    if change.after is None:
        return live is None or (change.former is not None and live.is_deleting and live.uid == change.former.uid)
    return live is not None and not differences_from_own_write(live, change, request_id)


async def _write(
    cluster: Cluster,
    namespace: str,
    change: DefinitionChange,
    content: DefinitionContent,
    live: LiveDefinition | None,
    *,
    request_id: str,
    dry_run: bool,
) -> KubeObject:
    assert change.after is not None
    former = live.metadata if live else None
    metadata = compose_metadata(former, content.metadata, change.after.git_commit)
    resource = DEFINITION_RESOURCES[change.kind]
    body = definition_body(change.name, content.spec, metadata, live)
    manager = field_manager(request_id)
    if live is None:
        return await create_object(cluster, resource, namespace, body, manager=manager, dry_run=dry_run)
    return await replace_object(cluster, resource, namespace, body, manager=manager, dry_run=dry_run)


async def _delete(cluster: Cluster, namespace: str, live: LiveDefinition, *, dry_run: bool) -> None:
    await delete_object(
        cluster,
        DEFINITION_RESOURCES[live.key.kind],
        namespace,
        live.key.name,
        uid=live.uid,
        resource_version=live.resource_version,
        dry_run=dry_run,
    )


def _check_arguments(change: DefinitionChange, content: DefinitionContent | None) -> None:
    wanted = change.after.digest if change.after else None
    given = content.digest() if content else None
    if wanted != given:
        raise ValueError(f"{change.key}: the plan says {wanted}, the content given has {given}")
    if change.former is None and change.after is None:
        raise ValueError(f"{change.key}: neither before nor after")
    if content is not None:
        check_reserved(content)


def _check_stored(content: DefinitionContent, stored: LiveDefinition) -> None:
    """A defaulted, dropped or rewritten field would give the live object another digest than the release says."""
    if stored.content.digest() == content.digest():
        return
    sent, kept = content.spec, stored.content.spec
    fields = sorted(name for name in {*sent, *kept} if sent.get(name) != kept.get(name))
    raise RefusedByCluster(
        f"{content.key}: the API server stores something else than was sent ({', '.join(fields) or 'metadata'}): "
        "send each field of the CRD, and look for admission webhooks that change definitions"
    )
