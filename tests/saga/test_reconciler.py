"""What the reconciler finishes, what it leaves alone, and that whoever it took over from writes nothing more."""

from __future__ import annotations

import asyncio

import pytest

from taskroll.cluster.apply_change import apply_changes
from taskroll.cluster.commit_release import ReleaseOrder, commit_release
from taskroll.cluster.definitions import list_definitions
from taskroll.cluster.errors import Conflict
from taskroll.cluster.fence import read_fence
from taskroll.cluster.objects import delete_object, replace_object
from taskroll.cluster.plans import find_last_plan
from taskroll.cluster.records import read_record
from taskroll.cluster.releases import list_releases
from taskroll.cluster.resources import DEFINITION_RESOURCES, field_manager
from taskroll.cluster.revisions import read_definition_revisions, write_definition_revisions
from taskroll.models.decision import ReleaseInput, ResumeInput
from taskroll.models.errors import RefusedByCluster, TakenOver, WrongPhase
from taskroll.models.names import recovery_workflow_id
from taskroll.services.abort import abort_prepared
from taskroll.services.deadline import Deadline
from taskroll.services.prepare import prepare
from taskroll_agent.contracts import AbortRequest, PrepareRequest

from .reconciling import has_recovery, reconcile, recovered
from .sources import library, unit
from .test_foreign_writes import ENCODER, edit
from .test_taken_back import DELETED, Before, before, everything
from .world import QUICK, World

__all__ = ["before"]


async def terminated_at(world: World, step: str, moment: str = "after", **more) -> str:
    """An update whose workflow was terminated when the step stood at that moment."""
    hold = world.faults.hold(step, "before" if moment == "before" else "after")
    request_id = await world.submit(everything(), delete=[DELETED], **more)
    await hold.reached.wait()
    await world.handle(request_id).terminate(reason="a test")
    return request_id


async def parked(world: World) -> str:
    """An update whose custom resource somebody else wrote, and whose workflow was terminated."""
    request_id = await terminated_at(world, "patch")
    await edit(world, unit("EncoderTask", 7), exempt=True)
    await reconcile(world)
    async with asyncio.timeout(60):
        while (await world.client.status(request_id)).status.outcome != "needs_operator":
            await asyncio.sleep(0.1)
    return request_id


# what is alive


async def test_live_updates_are_left_alone(before: Before) -> None:
    """One that drains, one in line behind it, and one that waits for an approval."""
    world = before.world
    await world.create_instance("EncoderTask")
    draining = await world.submit(library(2))
    await world.waiting(draining, "instance-1")
    in_line = await world.submit(library(3))
    await world.waiting(in_line, draining)
    unapproved = await world.submit(
        [unit("RankerTask", 1)], policy=QUICK.model_copy(update={"approval": "required", "approval_timeout": 300})
    )
    await world.in_phase(unapproved, "awaiting-approval")
    fence = await read_fence(world.cluster, world.namespace)
    reports = await asyncio.gather(*(reconcile(world, f"round-{number}") for number in range(3)))
    assert [(report.recovering, report.live) for report in reports] == [([], 3)] * 3
    after = await read_fence(world.cluster, world.namespace)
    assert after.holders == fence.holders
    assert [ticket.entry for ticket in after.line] == [ticket.entry for ticket in fence.line]
    for request_id in (draining, in_line, unapproved):
        assert not await has_recovery(world, request_id)
    await world.delete_instance()
    assert (await world.ended(draining)).status.outcome == "completed"


async def test_parked_update_is_left_to_its_operator(before: Before) -> None:
    world = before.world
    world.faults.fail("verify")
    world.faults.fail("restore-definitions", code="ForeignWrite")
    request_id = await world.submit(everything(), delete=[DELETED])
    assert (await world.ended(request_id)).status.outcome == "needs_operator"
    report = await reconcile(world)
    assert (report.recovering, report.parked) == ([], [request_id])
    assert not await has_recovery(world, request_id)


async def test_rounds_at_once_start_one_recovery(before: Before) -> None:
    world = before.world
    request_id = await terminated_at(world, "patch")
    reports = await asyncio.gather(*(reconcile(world, f"round-{number}") for number in range(4)))
    started = [each for report in reports for each in report.recovering]
    assert started == [request_id]
    await recovered(world, request_id)
    assert [run for run in world.faults.runs if run[0] == "restore-definitions"] == [("restore-definitions", 1)]
    await before.assert_unchanged(await world.client.status(request_id))


# what is dead


async def test_place_in_line_of_a_dead_update_is_given_up(before: Before) -> None:
    world = before.world
    await world.create_instance("EncoderTask")
    draining = await world.submit(library(2))
    await world.waiting(draining, "instance-1")
    in_line = await world.submit(library(3))
    await world.waiting(in_line, draining)
    await world.handle(in_line).terminate()
    await reconcile(world)
    await recovered(world, in_line)
    assert not (await read_fence(world.cluster, world.namespace)).line
    assert (await world.client.status(in_line)).status.outcome == "rolled_back"
    await world.delete_instance()
    assert (await world.ended(draining)).status.outcome == "completed"


async def test_request_stays_one_update(before: Before) -> None:
    world = before.world
    request_id = await terminated_at(world, "commit", "before", request_id="one-update")
    await reconcile(world)
    await recovered(world, request_id)
    again = await world.submit(everything(), delete=[DELETED], request_id="one-update")
    view = await world.client.status(again)
    assert view.status.outcome == "rolled_back"
    assert "its workflow was terminated" in view.status.message
    assert len(await list_releases(world.cluster, world.namespace)) == 1
    assert [line.outcome for line in (await world.client.list_updates()).updates if line.request_id == again] == [
        "rolled_back"
    ]


async def test_recovery_that_is_terminated_is_followed_by_another(before: Before) -> None:
    world = before.world
    request_id = await terminated_at(world, "patch")
    hold = world.faults.hold("restore-definitions")
    await reconcile(world)
    await hold.reached.wait()
    first = (await read_fence(world.cluster, world.namespace)).holder(request_id)
    await world.temporal.get_workflow_handle(recovery_workflow_id(world.namespace, request_id)).terminate()
    hold.release()
    await reconcile(world)
    await recovered(world, request_id)
    assert first is not None
    assert first.recovery is not None
    await before.assert_unchanged(await world.client.status(request_id))


async def test_what_replicas_prepared_for_nobody_is_dropped(before: Before) -> None:
    world = before.world
    fleet = world.connections.fleet
    encoder = unit("EncoderTask", 9)
    await write_definition_revisions(world.cluster, world.namespace, [encoder], request_id="never-heard-of")
    wish = PrepareRequest(request_id="never-heard-of", definitions={ENCODER: encoder.digest()})
    assert (await prepare(fleet, world.namespace, wish, Deadline.after(10))).is_prepared
    assert (await reconcile(world)).dropped == 5
    left = await abort_prepared(fleet, world.namespace, AbortRequest(request_id="never-heard-of"), Deadline.after(10))
    assert left.dropped == 0


# who comes late


@pytest.mark.parametrize("when", ["during", "after"])
async def test_late_writes_of_the_former_workflow_are_refused(before: Before, when: str) -> None:
    """As a worker sends them that is cut off from Temporal, and has looked at the fence before."""
    world, namespace = before.world, before.world.namespace
    hold = world.faults.hold("assess", "after")
    request_id = await terminated_at(world, "prepare")
    plan = await find_last_plan(world.cluster, namespace, request_id)
    assert plan is not None
    contents = await read_definition_revisions(
        world.cluster, namespace, {str(change.key): change.after.digest for change in plan.changes if change.after}
    )
    order = ReleaseOrder(
        request_id=request_id,
        origin="update",
        changes={str(change.key): change.after for change in plan.changes},
        base=plan.base,
        requested_by="tester",
        reason="late",
        git_commit=None,
        now=(await read_fence(world.cluster, namespace)).holders[0].since,
    )
    await reconcile(world)
    await hold.reached.wait()
    if when == "after":
        hold.release()
        await recovered(world, request_id)
    live = await list_definitions(world.cluster, namespace)
    for change in plan.changes:
        resource, found = DEFINITION_RESOURCES[change.kind], live.get(str(change.key))
        if change.former is None or found is None:
            with pytest.raises(RefusedByCluster, match="taskroll-writers"):
                await apply_changes(world.cluster, namespace, [change], contents, request_id=request_id)
            continue
        # What was read before the recovery cannot be written any more; who reads again sees the recovery.
        read = {"uid": change.former.uid, "resource_version": change.former.resource_version}
        with pytest.raises((Conflict, RefusedByCluster)):
            await delete_object(world.cluster, resource, namespace, change.name, **read)
        with pytest.raises(TakenOver):
            await apply_changes(world.cluster, namespace, [change], contents, request_id=request_id)
        with pytest.raises(RefusedByCluster, match="taskroll-writers"):
            await replace_object(
                world.cluster, resource, namespace, found.source.raw, manager=field_manager(request_id)
            )
    with pytest.raises(RefusedByCluster, match="taskroll-writers"):
        await commit_release(world.cluster, namespace, order)
    hold.release()
    await recovered(world, request_id)
    await before.assert_unchanged(await world.client.status(request_id))


@pytest.mark.parametrize("step", ["patch", "commit"])
async def test_late_activity_of_the_former_workflow_does_nothing(before: Before, step: str) -> None:
    world = before.world
    request_id = await terminated_at(world, step, "before")
    await reconcile(world)
    await recovered(world, request_id)
    assert (step, 1) in world.faults.runs
    await before.assert_unchanged(await world.client.status(request_id))


async def test_late_delete_amid_the_recovery_is_refused_by_the_api_server(before: Before) -> None:
    """No policy can: a delete names no writer, and the fence that the recovery holds lets taskroll delete."""
    world = before.world
    request_id = await terminated_at(world, "patch", "before")
    plan = await find_last_plan(world.cluster, world.namespace, request_id)
    assert plan is not None
    [deletion] = [change for change in plan.changes if change.after is None]
    assert deletion.former is not None
    finish = world.faults.hold("finish")
    await reconcile(world)
    await finish.reached.wait()
    with pytest.raises(Conflict, match="ResourceVersion in the precondition"):
        await delete_object(
            world.cluster,
            DEFINITION_RESOURCES[deletion.kind],
            world.namespace,
            deletion.name,
            uid=deletion.former.uid,
            resource_version=deletion.former.resource_version,
        )
    finish.release()
    await recovered(world, request_id)
    await before.assert_unchanged(await world.client.status(request_id))


# what needs an operator


async def test_foreign_write_parks_the_recovery_and_resume_goes_on(before: Before) -> None:
    world = before.world
    request_id = await parked(world)
    edited = (await world.definitions())[ENCODER]
    view = await world.client.status(request_id)
    assert ENCODER in view.status.message
    assert view.execution == "running"
    stored = await read_record(world.cluster, world.namespace, request_id)
    assert (stored.record.outcome, stored.sealed) == ("needs_operator", False)
    assert (await read_fence(world.cluster, world.namespace)).holder(request_id) is not None
    assert edited == (await world.definitions())[ENCODER]
    await edit(world, unit("EncoderTask", 2), exempt=True)
    await world.client.resume(request_id, ResumeInput(by="operator"))
    await recovered(world, request_id)
    await before.assert_unchanged(await world.client.status(request_id))


async def test_resume_finishes_an_update_whose_workflow_is_gone(before: Before) -> None:
    world = before.world
    request_id = await terminated_at(world, "patch")
    await world.client.resume(request_id, ResumeInput(by="operator"))
    await recovered(world, request_id)
    await before.assert_unchanged(await world.client.status(request_id))
    with pytest.raises(WrongPhase, match="nothing to resume"):
        await world.client.resume(request_id, ResumeInput(by="operator"))


@pytest.mark.parametrize("state", ["parked", "recovery parked", "terminated"])
async def test_fence_released_by_hand(before: Before, state: str) -> None:
    """Nothing is taken back; the record says who did it, and why."""
    world = before.world
    if state == "parked":
        world.faults.fail("verify")
        world.faults.fail("restore-definitions", code="ForeignWrite")
        request_id = await world.submit(everything(), delete=[DELETED])
        await world.ended(request_id)
    elif state == "recovery parked":
        request_id = await parked(world)
    else:
        request_id = await terminated_at(world, "patch")
    left = await world.definitions()
    await world.client.release_fence(request_id, ReleaseInput(by="jane", reason="repaired by hand"))
    async with asyncio.timeout(30):
        while not (stored := await read_record(world.cluster, world.namespace, request_id)).sealed:
            await asyncio.sleep(0.1)
        while (await read_fence(world.cluster, world.namespace)).holders:
            await asyncio.sleep(0.1)
    assert stored.record.outcome == "released"
    assert "fence released by jane: repaired by hand" in stored.record.message
    assert await world.definitions() == left


async def test_fence_of_a_live_update_is_not_released(before: Before) -> None:
    world = before.world
    hold = world.faults.hold("patch")
    request_id = await world.submit(library(2))
    await hold.reached.wait()
    with pytest.raises(WrongPhase, match=f"taskroll abort {request_id}"):
        await world.client.release_fence(request_id, ReleaseInput(by="jane", reason="impatience"))
    hold.release()
    assert (await world.ended(request_id)).status.outcome == "completed"
    with pytest.raises(WrongPhase):
        await world.client.release_fence(request_id, ReleaseInput(by="jane", reason="impatience"))
