"""Records: one ``TaskUpdate`` object per update, readable with kubectl after the workflow's history is gone.

While the update runs its record is open, and rewritten whenever a step takes its time. At the end it is sealed: its
place in the chain of records is taken by moving ``taskroll-record-head``, a ConfigMap that holds the newest sealed
record whole, and then the object is written. If the worker dies between the two, whoever seals next writes it first, so
the chain has no hole.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from pydantic import ValidationError

from taskroll.models.errors import TamperedState, UnknownUpdate
from taskroll.models.record import UpdateRecord
from taskroll.models.status import Phase, StepName

from .bounded import run_bounded
from .config_maps import read_config_map, string_data, swap_config_map
from .connection import Cluster
from .errors import Invalid
from .objects import KubeObject, create_object, find_object, list_objects, replace_object
from .record_object import DIGEST_FIELD, SPEC_FIELDS, is_sealed, record_from, record_spec, record_status
from .rereading import rereading
from .resources import TASK_UPDATE, field_manager

RECORD_HEAD_NAME = "taskroll-record-head"


@dataclass(frozen=True)
class StoredRecord:
    """A record as it stands in the cluster.

    Attributes:
        record: The record.
        sealed: Whether the update has ended.
    """

    record: UpdateRecord
    sealed: bool


async def open_record(cluster: Cluster, record: UpdateRecord) -> bool:
    """Create the update's record, or bring it to this state; return False where it is sealed, and stays as it is."""
    return await _write(cluster, record, sealed=False)


async def update_record(cluster: Cluster, record: UpdateRecord) -> None:
    """Write this state of the update. A sealed record stays as it is: a step that ended late has nothing to add."""
    await _write(cluster, record, sealed=False)


async def note_step(cluster: Cluster, namespace: str, request_id: str, phase: Phase, step: StepName) -> None:
    """Say in an open record which step runs. Where there is no record yet, or it is sealed, nothing is written.

    An update that runs a step needs no operator (any more), so an outcome is taken out.
    """

    async def attempt() -> None:
        source = await find_object(cluster, TASK_UPDATE, namespace, request_id)
        if source is None or is_sealed(source):
            return
        noted = {"phase": phase, "step": step, "outcome": None, "message": ""}
        await _replace_status(cluster, source, record_from(source).model_copy(update=noted), sealed=False)

    await rereading(attempt)


async def seal_record(cluster: Cluster, record: UpdateRecord) -> UpdateRecord:
    """Write the final state, chained to the record sealed before it; return it as sealed.

    What was asked for stays as it was when the record was opened.
    Called again after its answer was lost, it returns what the first call sealed.

    Raises:
        TamperedState: where the head of the chain was edited by hand.
        ClusterError: `Unavailable`, `Conflict` (retryable).
    """
    namespace = record.namespace

    async def attempt() -> UpdateRecord:
        stored = await _find(cluster, namespace, record.request_id)
        if stored and stored.sealed:
            return stored.record
        source = await read_config_map(cluster, namespace, RECORD_HEAD_NAME)
        head = _head(source, namespace) if source else None
        if head is not None:
            await _finish_writing(cluster, head)
            if head.request_id == record.request_id:
                return head
        asked = {field: getattr(stored.record, field) for field in SPEC_FIELDS} if stored else {}
        sealed = record.model_copy(
            update={
                **asked,
                "previous_record": head.request_id if head else None,
                "previous_digest": head.digest() if head else None,
            }
        )
        await swap_config_map(
            cluster, namespace, RECORD_HEAD_NAME, source, _head_data(sealed), request_id=record.request_id
        )
        await _write(cluster, sealed, sealed=True)
        return sealed

    return await rereading(attempt)


async def read_record(cluster: Cluster, namespace: str, request_id: str) -> StoredRecord:
    """Read one.

    Raises:
        UnknownUpdate: where there is none of that request id.
        TamperedState: where the object holds no record.
    """
    found = await _find(cluster, namespace, request_id)
    if found is None:
        raise UnknownUpdate(f"no record of update {request_id!r} in namespace {namespace!r}")
    return found


async def list_record_names(cluster: Cluster, namespace: str) -> list[tuple[datetime, str]]:
    """When each record was opened, to the second, and its request id; the newest first. Reads no record."""
    items = await list_objects(cluster, TASK_UPDATE, namespace, metadata_only=True)
    return sorted(((datetime.fromisoformat(item.created_at), item.name) for item in items), reverse=True)


async def find_records(cluster: Cluster, namespace: str, request_ids: Sequence[str]) -> list[StoredRecord]:
    """Those of these records that are there, in the order of the ids."""
    found = await run_bounded(request_ids, lambda request_id: _find(cluster, namespace, request_id))
    return [stored for stored in found if stored is not None]


async def list_records(cluster: Cluster, namespace: str) -> list[StoredRecord]:
    """All records, the newest first by their start."""
    found = [_stored(item) for item in await list_objects(cluster, TASK_UPDATE, namespace)]
    return sorted(found, key=lambda stored: (stored.record.started_at, stored.record.request_id), reverse=True)


async def list_open_records(cluster: Cluster, namespace: str) -> list[UpdateRecord]:
    """The records of updates that have not ended. However many have, the API server sends none of those.

    But where its CRD is of an earlier taskroll, and does not let records be selected by it.
    """
    try:
        found = await list_objects(cluster, TASK_UPDATE, namespace, fields={f"status.{DIGEST_FIELD}": ""})
    except Invalid:
        found = await list_objects(cluster, TASK_UPDATE, namespace)
    return [stored.record for stored in map(_stored, found) if not stored.sealed]


async def verify_records(cluster: Cluster, namespace: str) -> list[str]:
    """Walk the chain from its head to the first record; return what is wrong with it, one line each.

    An altered record has another digest than the one after it (or the head) says. Deleted records are named too.
    """
    source = await read_config_map(cluster, namespace, RECORD_HEAD_NAME)
    stored = {item.record.request_id: item.record for item in await list_records(cluster, namespace) if item.sealed}
    if source is None:
        return [f"record head {RECORD_HEAD_NAME} is gone, and {len(stored)} records are sealed"] if stored else []
    try:
        head = _head(source, namespace)
    except TamperedState as error:
        return [error.message]
    found: list[str] = []
    name, digest, after = head.request_id, head.digest(), "the head"
    while True:
        record = stored.pop(name, None)
        if record is None:
            found.append(f"record {name} is gone; {after} names it with digest {digest}")
            break
        if record.digest() != digest:
            found.append(f"record {name} was altered: its digest is {record.digest()}, {after} says {digest}")
        if record.previous_record is None or record.previous_digest is None:
            break
        name, digest, after = record.previous_record, record.previous_digest, f"record {name}"
    found += [f"record {left} is sealed and not part of the chain" for left in sorted(stored)]
    return found


async def _finish_writing(cluster: Cluster, head: UpdateRecord) -> None:
    """Write the newest sealed record to its object, where whoever sealed it did not come so far."""
    stored = await _find(cluster, head.namespace, head.request_id)
    if stored is None or not stored.sealed:
        await _write(cluster, head, sealed=True)


async def _write(cluster: Cluster, record: UpdateRecord, *, sealed: bool) -> bool:
    """Write it; return False where it was sealed before, and stays as it is."""

    async def attempt() -> bool:
        source = await find_object(cluster, TASK_UPDATE, record.namespace, record.request_id)
        if source is None:
            body = {"metadata": {"name": record.request_id}, "spec": record_spec(record)}
            manager = field_manager(record.request_id)
            source = await create_object(cluster, TASK_UPDATE, record.namespace, body, manager=manager)
        elif is_sealed(source):
            return False
        await _replace_status(cluster, source, record, sealed=sealed)
        return True

    return await rereading(attempt)


async def _replace_status(cluster: Cluster, source: KubeObject, record: UpdateRecord, *, sealed: bool) -> None:
    status = record_status(record, sealed=sealed)
    if source.status == status:
        return
    meta = {key: value for key, value in source.meta.items() if key != "managedFields"}
    body = {"metadata": meta, "spec": source.spec, "status": status}
    manager = field_manager(record.request_id)
    await replace_object(cluster, TASK_UPDATE, record.namespace, body, manager=manager, subresource="status")


async def _find(cluster: Cluster, namespace: str, request_id: str) -> StoredRecord | None:
    source = await find_object(cluster, TASK_UPDATE, namespace, request_id)
    return None if source is None else _stored(source)


def _stored(source: KubeObject) -> StoredRecord:
    return StoredRecord(record=record_from(source), sealed=is_sealed(source))


def _head_data(record: UpdateRecord) -> dict[str, str]:
    return {
        "request_id": record.request_id,
        "digest": record.digest(),
        "record.json": record.model_dump_json(),
    }


def _head(source: KubeObject, namespace: str) -> UpdateRecord:
    data = string_data(source)
    try:
        record = UpdateRecord.model_validate_json(data.get("record.json", ""))
    except ValidationError as error:
        raise TamperedState(f"ConfigMap/{RECORD_HEAD_NAME} in {namespace} holds no record: {error}") from error
    if data != _head_data(record):
        raise TamperedState(
            f"ConfigMap/{RECORD_HEAD_NAME} in {namespace}: its digest does not match its content; edited by hand?"
        )
    return record
