"""Approval by hand: by signal and by update, bound to a plan, first decision wins."""

import pytest
from temporalio.client import WorkflowUpdateFailedError

from taskroll.models.decision import DecisionInput, Vote
from taskroll.models.errors import WrongPhase

from .sources import library, unit
from .world import QUICK, World

ASKING = QUICK.model_copy(update={"approval": "required"})


async def test_approved_by_update(world: World) -> None:
    request_id = await world.submit(library(1), policy=ASKING)
    view = await world.in_phase(request_id, "awaiting-approval")
    assert await world.definitions() == {}
    decision = await world.client.decide(
        request_id, DecisionInput(decision="approved", by="anna", reason="looks right")
    )
    assert view.status.plan is not None
    assert decision.plan_digest == view.status.plan.digest
    view = await world.ended(request_id)
    assert view.status.outcome == "completed", view.status.message
    assert [(d.decision, d.by, d.reason) for d in view.status.decisions] == [("approved", "anna", "looks right")]


async def test_approved_by_signal(world: World) -> None:
    request_id = await world.submit(library(1), policy=ASKING)
    await world.in_phase(request_id, "awaiting-approval")
    await world.handle(request_id).signal("approve", Vote(by="web-ui"))
    assert (await world.ended(request_id)).status.outcome == "completed"


@pytest.mark.parametrize("way", ["signal", "update"])
async def test_rejected(world: World, way: str) -> None:
    request_id = await world.submit(library(1), policy=ASKING)
    await world.in_phase(request_id, "awaiting-approval")
    if way == "signal":
        await world.handle(request_id).signal("reject", Vote(by="bert", reason="not today"))
    else:
        await world.client.decide(request_id, DecisionInput(decision="rejected", by="bert", reason="not today"))
    view = await world.ended(request_id)
    assert view.status.outcome == "rejected"
    assert "rejected by bert: not today" in view.status.message
    assert await world.definitions() == {}
    assert {replica.agent.attest(None, full=False).epoch for replica in world.replicas.running} == {0}


async def test_nobody_decides_in_time(world: World) -> None:
    first = await world.update(library(1))
    definitions, contents = await world.definitions(), world.replicas.contents()
    view = await world.update(library(2), policy=ASKING.model_copy(update={"approval_timeout": 1.0}))
    assert view.status.outcome == "rejected"
    assert "within 1 s" in view.status.message
    assert await world.definitions() == definitions
    assert world.replicas.contents() == contents
    assert first.status.epoch == 1


async def test_first_decision_wins(world: World) -> None:
    request_id = await world.submit(library(1), policy=ASKING)
    await world.in_phase(request_id, "awaiting-approval")
    await world.handle(request_id).signal("approve", Vote(by="first"))
    await world.handle(request_id).signal("reject", Vote(by="second"))
    view = await world.ended(request_id)
    assert view.status.outcome == "completed"
    assert [d.by for d in view.status.decisions] == ["first"]


async def test_decision_on_another_plan_is_refused_with_both_digests(world: World) -> None:
    request_id = await world.submit(library(1), policy=ASKING)
    view = await world.in_phase(request_id, "awaiting-approval")
    assert view.status.plan is not None
    stale = "sha256:" + "0" * 64
    with pytest.raises(WorkflowUpdateFailedError) as caught:
        await world.handle(request_id).execute_update(
            "decide", DecisionInput(decision="approved", by="anna", plan_digest=stale)
        )
    assert stale in str(caught.value.cause)
    assert view.status.plan.digest in str(caught.value.cause)
    await world.handle(request_id).signal("reject", Vote(by="anna"))
    await world.ended(request_id)


async def test_decision_that_nobody_asked_for_is_refused(world: World) -> None:
    hold = world.faults.hold("prepare")
    request_id = await world.submit(library(1))
    await hold.reached.wait()
    with pytest.raises(WrongPhase):
        await world.client.decide(request_id, DecisionInput(decision="approved", by="anna"))
    hold.release()
    assert (await world.ended(request_id)).status.outcome == "completed"


async def test_drift_after_the_plan_voids_the_approval(world: World) -> None:
    """What is live changed while people thought about it: a new plan, and a new decision."""
    await world.update(library(1))
    request_id = await world.submit(library(2), policy=ASKING)
    first = await world.in_phase(request_id, "awaiting-approval")
    assert (await world.update([unit("EncoderTask", 7)])).status.outcome == "completed"
    await world.client.decide(request_id, DecisionInput(decision="approved", by="anna"))
    async for view in world.client.watch(request_id):
        if view.status.plan and view.status.plan.number == 2 and view.status.phase == "awaiting-approval":
            break
    assert first.status.plan is not None
    assert view.status.plan is not None
    assert view.status.plan.digest != first.status.plan.digest
    await world.client.decide(request_id, DecisionInput(decision="approved", by="anna"))
    view = await world.ended(request_id)
    assert view.status.outcome == "completed", view.status.message
    assert world.replicas.versions("EncoderTask") == {2}
