"""Records: what stays readable of an update, and that nobody changes it unnoticed."""

from __future__ import annotations

import asyncio
import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from taskroll.cluster.objects import read_object
from taskroll.cluster.records import (
    RECORD_HEAD_NAME,
    list_records,
    note_step,
    open_record,
    read_record,
    seal_record,
    update_record,
    verify_records,
)
from taskroll.cluster.resources import CONFIG_MAP, TASK_UPDATE
from taskroll.models.errors import TamperedState, UnknownUpdate
from taskroll.models.record import RecordedChange, UpdateRecord
from taskroll.models.status import Decision, Step
from taskroll_agent.contracts import sha256_digest

NOW = datetime(2026, 5, 4, 12, 0, 0, 123456, tzinfo=UTC)
DIGESTS = ["sha256:" + digit * 64 for digit in "012345"]


def _record(lab, request_id: str = "u-1", **changed: Any) -> UpdateRecord:
    given = {
        "request_id": request_id,
        "namespace": lab.namespace,
        "request_digest": DIGESTS[0],
        "workflow_id": f"task-update/{lab.namespace}/{request_id}",
        "requested_by": "ann",
        "reason": "faster encoder",
        "git_commit": "c" * 40,
        "git_dirty": False,
        "origin": "rollback",
        "target_release": 3,
        "started_at": NOW,
        **changed,
    }
    return UpdateRecord(**given)


def _full(lab, request_id: str = "u-1", **changed: Any) -> UpdateRecord:
    given = {
        "phase": "ended",
        "outcome": "rolled_back",
        "message": "verify: replica é did not attest",
        "plan": "taskroll-plan-u-1-1",
        "changes": [
            RecordedChange(definition="TaskDefinition/a", action="create", after=DIGESTS[1]),
            RecordedChange(definition="TaskDefinition/b", action="change", before=DIGESTS[1], after=DIGESTS[2]),
            RecordedChange(definition="TaskDefinition/c", action="delete", before=DIGESTS[3]),
        ],
        "decisions": [Decision(decision="approved", by="bob", reason="", plan_digest=DIGESTS[4], at=NOW)],
        "epoch_before": 4,
        "epoch": 6,
        "replicas": 8,
        "mixed_version_window_ms": 12.5,
        "longest_pause_ms": 41.5,
        "restored_byte_for_byte": True,
        "ended_at": NOW + timedelta(seconds=7, microseconds=1),
        "steps": [
            Step(name="plan", started_at=NOW, ended_at=NOW + timedelta(seconds=1), state="done", detail="1 change"),
            Step(name="verify", started_at=NOW, state="failed"),
        ],
        **changed,
    }
    return _record(lab, request_id, **given)


async def test_a_record_is_opened_updated_sealed_and_comes_back_whole(lab):
    await open_record(lab.taskroll, _record(lab))
    stored = await read_record(lab.taskroll, lab.namespace, "u-1")
    assert (stored.record, stored.sealed) == (_record(lab), False)

    await update_record(lab.taskroll, _record(lab, phase="applying", message="patch"))
    assert (await read_record(lab.taskroll, lab.namespace, "u-1")).record.phase == "applying"

    sealed = await seal_record(lab.taskroll, _record(lab, phase="ended", outcome="completed"))
    stored = await read_record(lab.taskroll, lab.namespace, "u-1")
    assert (stored.record, stored.sealed) == (sealed, True)
    assert await verify_records(lab.taskroll, lab.namespace) == []


async def test_every_field_comes_back_and_so_does_the_digest(lab):
    record = _full(lab)
    sealed = await seal_record(lab.taskroll, record)
    stored = (await read_record(lab.taskroll, lab.namespace, "u-1")).record
    assert stored == sealed == record
    assert stored.digest() == record.digest()
    assert (await lab.object(TASK_UPDATE, "u-1")).status["digest"] == record.digest()


@pytest.mark.parametrize(("field", "value"), [("longest_pause_ms", 0.0), ("step", "verify")])
async def test_a_record_without_a_later_field_has_the_digest_of_before_there_was_the_field(lab, field: str, value: Any):
    record = _full(lab, longest_pause_ms=None)
    former = record.model_dump(mode="json")
    del former["longest_pause_ms"], former["step"]
    assert record.digest() == sha256_digest(former)
    assert record.model_copy(update={field: value}).digest() != record.digest()


async def test_kubectl_lists_who_what_when_why_from_which_commit_and_how_it_ended(lab):
    await seal_record(lab.taskroll, _full(lab))
    call = await _table(lab)
    row = dict(zip((column["name"] for column in call["columnDefinitions"]), call["rows"][0]["cells"], strict=True))
    shown = {column["name"] for column in call["columnDefinitions"] if column["priority"] == 0}
    assert shown >= {"Name", "Requested-By", "Reason", "Commit", "Epoch", "Outcome", "Phase", "Age"}
    row.pop("Age"), row.pop("Ended")
    assert row == {
        "Name": "u-1",
        "Phase": "ended",
        "Step": None,
        "Outcome": "rolled_back",
        "Epoch": 6,
        "Requested-By": "ann",
        "Reason": "faster encoder",
        "Commit": "c" * 40,
        "Message": "verify: replica é did not attest",
        "Workflow": f"task-update/{lab.namespace}/u-1",
    }


async def _table(lab) -> dict[str, Any]:
    """As kubectl asks for it."""
    from taskroll.cluster.transport import Call

    accept = "application/json;as=Table;v=v1;g=meta.k8s.io"
    return await lab.admin.send(Call("list", TASK_UPDATE.path(lab.namespace), "TaskUpdate", accept=accept))


async def test_a_step_is_noted_in_an_open_record_and_nothing_else_of_it_changes(lab):
    parked = _record(lab, phase="needs-operator", outcome="needs_operator", message="verify: no", plan="a-plan")
    await note_step(lab.taskroll, lab.namespace, "u-1", "rolling-back", "verify")
    assert not await list_records(lab.taskroll, lab.namespace)
    await open_record(lab.taskroll, parked)
    await note_step(lab.taskroll, lab.namespace, "u-1", "rolling-back", "restore-definitions")
    stored = await read_record(lab.taskroll, lab.namespace, "u-1")
    assert not stored.sealed
    assert stored.record == _record(lab, phase="rolling-back", step="restore-definitions", plan="a-plan")


async def test_a_sealed_record_stays_as_it_is(lab):
    sealed = await seal_record(lab.taskroll, _full(lab))
    await note_step(lab.taskroll, lab.namespace, "u-1", "applying", "verify")
    await update_record(lab.taskroll, _record(lab, phase="applying"))
    await open_record(lab.taskroll, _record(lab))
    assert (await read_record(lab.taskroll, lab.namespace, "u-1")).record == sealed
    again = await seal_record(lab.taskroll, _full(lab, message="another end"))
    assert again == sealed


async def test_what_was_asked_for_stays_as_it_was_opened(lab):
    await open_record(lab.taskroll, _record(lab))
    sealed = await seal_record(lab.taskroll, _full(lab, requested_by="mallory", reason="other", git_commit=None))
    assert sealed == _full(lab)
    assert (await read_record(lab.taskroll, lab.namespace, "u-1")).record == sealed
    assert await verify_records(lab.taskroll, lab.namespace) == []


async def test_records_form_a_chain_in_the_order_of_their_ends(lab):
    for name in ("u-1", "u-2", "u-3"):
        await open_record(lab.taskroll, _record(lab, name))
    sealed = [await seal_record(lab.taskroll, _full(lab, name)) for name in ("u-2", "u-3", "u-1")]
    assert [record.previous_record for record in sealed] == [None, "u-2", "u-3"]
    assert [record.previous_digest for record in sealed] == [None, sealed[0].digest(), sealed[1].digest()]
    assert await verify_records(lab.taskroll, lab.namespace) == []


async def test_lists_the_newest_first(lab):
    for number in range(3):
        await open_record(lab.taskroll, _record(lab, f"u-{number}", started_at=NOW + timedelta(hours=number)))
    found = await list_records(lab.taskroll, lab.namespace)
    assert [stored.record.request_id for stored in found] == ["u-2", "u-1", "u-0"]


async def test_an_unknown_record_is_said_by_name(lab):
    with pytest.raises(UnknownUpdate, match="u-9"):
        await read_record(lab.taskroll, lab.namespace, "u-9")


async def test_any_lost_request_or_answer_is_made_good_by_a_retry(lab):
    number = 0

    async def prepare():
        nonlocal number
        number += 1
        await open_record(lab.taskroll, _record(lab, f"u-{number}"))

    faults = 0
    async for fault, sealed in lab.with_each_fault(prepare, lambda c: seal_record(c, _full(lab, f"u-{number}"))):
        stored = await read_record(lab.taskroll, lab.namespace, f"u-{number}")
        assert (stored.record, stored.sealed) == (sealed, True), fault
        assert await verify_records(lab.taskroll, lab.namespace) == [], fault
        faults += 1
    assert faults >= 8


async def test_whoever_seals_next_finishes_what_a_dead_worker_left(lab):
    """The head was moved, the record itself was not written, and nobody tries that update again."""

    async def die(call):
        if call.kind == "TaskUpdate" and call.is_write:
            raise OSError("died")

    await open_record(lab.taskroll, _record(lab, "u-1"))
    with pytest.raises(Exception, match="died"):
        await seal_record(lab.interposed(die), _full(lab, "u-1"))
    assert not (await read_record(lab.taskroll, lab.namespace, "u-1")).sealed
    assert await verify_records(lab.taskroll, lab.namespace) != []

    await seal_record(lab.taskroll, _full(lab, "u-2"))
    stored = await read_record(lab.taskroll, lab.namespace, "u-1")
    assert stored.sealed and stored.record == _full(lab, "u-1")
    assert await verify_records(lab.taskroll, lab.namespace) == []
    assert await seal_record(lab.taskroll, _full(lab, "u-1", message="late")) == stored.record


async def test_ten_sealed_at_once_make_one_chain(lab):
    sealed = await asyncio.gather(*(seal_record(lab.taskroll, _full(lab, f"u-{n}")) for n in range(10)))
    assert len({record.previous_record for record in sealed}) == 10
    assert await verify_records(lab.taskroll, lab.namespace) == []


TAMPERING = {
    "outcome": (lambda raw: raw["status"].update(outcome="completed"), "record u-2 was altered"),
    "who": (lambda raw: raw["status"]["decisions"][0].update(by="mallory"), "record u-2 was altered"),
    "chain": (lambda raw: raw["status"].pop("previousDigest"), "record u-2 was altered"),
    "unsealed": (lambda raw: raw["status"].pop("digest"), "record u-2 is gone"),
}


@pytest.mark.parametrize("edit", TAMPERING)
async def test_an_altered_record_is_noticed(lab, edit):
    for number in (1, 2, 3):
        await seal_record(lab.taskroll, _full(lab, f"u-{number}"))
    act, said = TAMPERING[edit]
    await lab.edit_object(TASK_UPDATE, "u-2", act, subresource="status")
    found = await verify_records(lab.taskroll, lab.namespace)
    assert said in found[0]


async def test_a_deleted_record_is_noticed(lab):
    for number in (1, 2, 3):
        await seal_record(lab.taskroll, _full(lab, f"u-{number}"))
    await lab.delete_object(TASK_UPDATE, "u-2")
    assert (await verify_records(lab.taskroll, lab.namespace))[0].startswith("record u-2 is gone; record u-3 names it")
    await lab.delete_object(CONFIG_MAP, RECORD_HEAD_NAME)
    assert "taskroll-record-head is gone" in (await verify_records(lab.taskroll, lab.namespace))[0]


async def test_what_was_asked_for_cannot_be_changed_at_all(lab):
    await open_record(lab.taskroll, _record(lab))
    with pytest.raises(Exception, match="what was asked for cannot be changed afterwards"):
        await lab.edit_object(TASK_UPDATE, "u-1", lambda raw: raw["spec"].update(requestedBy="mallory"))


@pytest.mark.parametrize(
    "edit",
    [
        lambda data: data.update(digest="sha256:" + "0" * 64),
        lambda data: data.update(request_id="u-9"),
        lambda data: data.update({"record.json": data["record.json"].replace("ann", "mallory")}),
        lambda data: data.pop("record.json"),
    ],
    ids=["digest", "request", "record", "no record"],
)
async def test_a_head_that_was_edited_by_hand_stops_the_sealing(lab, edit):
    await seal_record(lab.taskroll, _full(lab, "u-1"))
    await lab.edit_object(CONFIG_MAP, RECORD_HEAD_NAME, lambda raw: edit(raw["data"]))
    with pytest.raises(TamperedState, match="taskroll-record-head"):
        await seal_record(lab.taskroll, _full(lab, "u-2"))
    assert "taskroll-record-head" in (await verify_records(lab.taskroll, lab.namespace))[0]


async def test_a_record_of_five_hundred_definitions_fits_and_is_small(lab):
    changes = [
        RecordedChange(
            definition=f"TaskDefinition/{number:03}-{'x' * 90}", action="change", before=DIGESTS[1], after=DIGESTS[2]
        )
        for number in range(500)
    ]
    record = _full(lab, changes=changes)
    assert await seal_record(lab.taskroll, record) == record
    stored = await read_object(lab.admin, TASK_UPDATE, lab.namespace, "u-1")
    assert len(json.dumps(stored.raw)) < 300_000
