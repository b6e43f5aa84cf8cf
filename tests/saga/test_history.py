"""What stands in Temporal's history and in the record."""

import base64

from taskroll.cluster.records import read_record, verify_records

from .sources import PACKAGE, library
from .test_approval import ASKING
from .world import World


async def test_history_is_small_and_holds_no_source(world: World) -> None:
    await world.update(library(1))
    await world.create_instance("EncoderTask")
    request_id = await world.submit(library(2), policy=ASKING)
    await world.in_phase(request_id, "awaiting-approval")
    from taskroll.models.decision import DecisionInput

    await world.client.decide(request_id, DecisionInput(decision="approved", by="anna"))
    await world.waiting(request_id, "EncoderTask instance-1")
    await world.delete_instance()
    view = await world.ended(request_id)
    assert view.status.outcome == "completed", view.status.message
    history = await world.handle(request_id).fetch_history()
    assert len(history.events) <= 80
    text = history.to_json()
    for content in library(2):
        source = content.source().decode()
        assert source not in text
        assert f"class {content.class_name}" not in text
        assert str(content.spec["sourceCode"]) not in text
        assert base64.b64encode(str(content.spec["sourceCode"]).encode()).decode() not in text
    for event in history.events:
        assert PACKAGE.encode() not in event.SerializeToString()


async def test_failures_hold_no_source(world: World) -> None:
    from .sources import BROKEN, unit

    await world.update(library(1))
    view = await world.update([unit("EncoderTask", 3), BROKEN])
    assert view.status.outcome == "rolled_back"
    history = await world.handle(view.status.request_id).fetch_history()
    assert b"class SketchTask" not in b"".join(event.SerializeToString() for event in history.events)


async def test_record_says_who_why_what_and_how_it_ended(world: World) -> None:
    await world.update(library(1), reason="the first")
    world.faults.fail("verify")
    await world.update(library(2), request_id="bad", reason="the second")
    stored = await read_record(world.cluster, world.namespace, "bad")
    record = stored.record
    assert stored.sealed
    assert (record.requested_by, record.reason, record.outcome) == ("tester", "the second", "rolled_back")
    assert (record.epoch_before, record.epoch) == (1, 3)
    assert {change.definition: change.action for change in record.changes} == {
        "TaskDefinition/encoder-task": "change",
        "TaskDefinition/sketch-task": "change",
    }
    assert all(change.before and change.after and change.before != change.after for change in record.changes)
    assert [step.name for step in record.steps][-3:] == ["verify", "restore-definitions", "abort-prepare"]
    assert all(step.seconds is not None for step in record.steps)
    assert await verify_records(world.cluster, world.namespace) == []
