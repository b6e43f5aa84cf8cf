"""Updates that are taken back: whatever fails, and wherever, all is as it was before."""

import asyncio
import os
from collections.abc import AsyncGenerator
from dataclasses import dataclass

import pytest
from temporalio.client import WorkflowExecutionStatus

from starter.update_view import UpdateView
from taskroll.cluster.fence import read_fence
from taskroll.cluster.releases import list_releases, read_pointer
from taskroll.models.decision import AbortInput, ResumeInput
from taskroll_agent.contracts import DefinitionKey
from tests.services.agent_process import agent_process

from .replicas import PORT, Replica
from .sources import BROKEN, composite, library, unit
from .world import QUICK, World

FORWARD = ["fence", "check", "stage", "prepare", "patch", "commit", "invalidate", "verify"]
AFTER_COMMIT = FORWARD[FORWARD.index("commit") + 1 :]


@dataclass
class Before:
    """A world that runs release 1, and how it looked then."""

    world: World
    definitions: dict[str, bytes]
    contents: set[str]

    async def assert_unchanged(self, view: UpdateView) -> None:
        """All CRs byte for byte, every replica, and the content of the current release are as they were."""
        world = self.world
        assert await world.definitions() == self.definitions
        assert world.replicas.contents() == self.contents
        pointer = await read_pointer(world.cluster, world.namespace)
        assert pointer is not None
        assert {pointer.content_digest} == self.contents
        fence = await read_fence(world.cluster, world.namespace)
        assert not fence.holders
        assert not fence.line
        assert {tuple(replica.agent.attest(None, full=False).prepared) for replica in world.replicas.running} == {()}
        assert view.status.outcome == "rolled_back", view.status.message


@pytest.fixture
async def before(world: World) -> AsyncGenerator[Before]:
    first = await world.update(library(1))
    assert first.status.outcome == "completed", first.status.message
    yield Before(world, await world.definitions(), world.replicas.contents())


def everything() -> list:
    """An update that creates, changes and (with `delete`) deletes."""
    return [unit("EncoderTask", 2), composite("SketchTask", 2, "EncoderTask"), unit("RankerTask", 1)]


DELETED = str(DefinitionKey("TaskDefinition", "writer-task"))


@pytest.mark.parametrize("moment", ["before", "after"])
@pytest.mark.parametrize("step", FORWARD)
async def test_failure_of_any_step(before: Before, step: str, moment: str) -> None:
    before.world.faults.fail(step, moment)
    view = await before.world.update(everything(), delete=[DELETED])
    await before.assert_unchanged(view)
    assert "seeded fault" in view.status.message
    releases = await list_releases(before.world.cluster, before.world.namespace)
    was_committed = step in AFTER_COMMIT or (step, moment) == ("commit", "after")
    assert [release.origin for release in releases] == (
        ["compensation", "update", "update"] if was_committed else ["update"]
    )
    if step in FORWARD[FORWARD.index("patch") :]:
        assert view.status.restored_byte_for_byte is True


@pytest.mark.parametrize("step", FORWARD)
async def test_cancel_at_any_step(before: Before, step: str) -> None:
    hold = before.world.faults.hold(step, "before")
    request_id = await before.world.submit(everything(), delete=[DELETED])
    await hold.reached.wait()
    await before.world.handle(request_id).cancel()
    view = await before.world.ended(request_id)
    await before.assert_unchanged(view)
    description = await before.world.handle(request_id).describe()
    assert description.status == WorkflowExecutionStatus.CANCELED


@pytest.mark.parametrize("step", ["patch", "verify"])
async def test_step_that_completes_in_spite_of_the_cancel(before: Before, step: str) -> None:
    """The effect is there, the activity reports success, and the cancel must not be swallowed by that."""
    hold = before.world.faults.hold(step, "after")
    request_id = await before.world.submit(everything(), delete=[DELETED])
    await hold.reached.wait()
    await before.world.handle(request_id).cancel()
    hold.release()
    await before.assert_unchanged(await before.world.ended(request_id))


@pytest.mark.parametrize("step", ["check", "prepare", "patch", "verify"])
async def test_abort_signal(before: Before, step: str) -> None:
    hold = before.world.faults.hold(step, "before")
    request_id = await before.world.submit(everything(), delete=[DELETED])
    await hold.reached.wait()
    await before.world.client.abort(request_id, AbortInput(by="somebody", reason="second thoughts"))
    view = await before.world.ended(request_id)
    await before.assert_unchanged(view)
    assert "aborted by somebody: second thoughts" in view.status.message


@pytest.mark.parametrize("step", ["revert-release", "restore-definitions", "abort-prepare"])
async def test_cancel_during_the_compensation_does_not_stop_it(before: Before, step: str) -> None:
    before.world.faults.fail("verify")
    hold = before.world.faults.hold(step, "before")
    request_id = await before.world.submit(everything(), delete=[DELETED])
    await hold.reached.wait()
    await before.world.handle(request_id).cancel()
    hold.release()
    await before.assert_unchanged(await before.world.ended(request_id))


async def test_source_that_does_not_import_changes_nothing(before: Before) -> None:
    view = await before.world.update([unit("EncoderTask", 3), BROKEN])
    await before.assert_unchanged(view)
    assert "Absent" in view.status.message
    assert "patch" not in [step.name for step in view.status.steps]


async def test_classes_that_end_the_process_end_one(before: Before, monkeypatch: pytest.MonkeyPatch) -> None:
    world = before.world
    asked: list[str] = []
    for replica in world.replicas.running:

        async def prepare(_: object, replica: Replica = replica) -> None:
            asked.append(replica.pod)

        monkeypatch.setattr(replica.agent, "prepare", prepare)
    pod, address, uid = await world.replicas.create_pod("gateway", "a-gateway")  # the first that the API server lists
    names = {**world.replicas.settings, "pod": pod, "pod_uid": uid}
    env = {**os.environ, **{f"TASKROLL_AGENT_{name.upper()}": str(value) for name, value in names.items()}}
    async with agent_process(address, str(PORT), env=env) as process:
        view = await world.update([unit("EncoderTask", 2, body="    import os\n    os._exit(9)\n")])
        assert await process.wait() == 9
    await before.assert_unchanged(view)
    assert f"gateway/{pod} ({address}:{PORT}): process_ended: its process ended" in view.status.message
    assert asked == []
    assert [attempt for step, attempt in world.faults.runs if step == "prepare"][-1] == 1


async def test_instance_that_stays_beyond_the_deadline(before: Before) -> None:
    await before.world.create_instance("EncoderTask")
    view = await before.world.update(library(2), policy=QUICK.model_copy(update={"drain_timeout": 1.0}))
    await before.assert_unchanged(view)
    assert "instance-1" in view.status.message


async def test_instance_is_refused_at_once_and_named(before: Before) -> None:
    await before.world.create_instance("SketchTask")
    view = await before.world.update(library(2), policy=QUICK.model_copy(update={"drain": "refuse"}))
    await before.assert_unchanged(view)
    assert "SketchTask instance-1" in view.status.message


async def test_replica_that_dies_between_patch_and_verify(before: Before) -> None:
    world = before.world
    hold = world.faults.hold("commit", "after")
    request_id = await world.submit(library(2), policy=QUICK.model_copy(update={"verify_timeout": 1.5}))
    await hold.reached.wait()
    victim = world.replicas.running[0]
    await world.replicas.stop(victim, delete_pod=False)
    hold.release()
    await world.in_phase(request_id, "rolling-back")
    await world.replicas.restart(victim)
    view = await world.ended(request_id)
    await before.assert_unchanged(view)
    assert victim.pod in view.status.message


async def test_replica_out_of_reach_in_prepare(before: Before) -> None:
    world = before.world
    victim = world.replicas.running[0]
    await world.replicas.stop(victim, delete_pod=False)
    view = await world.update(library(2), policy=QUICK.model_copy(update={"prepare_timeout": 1.0}))
    await before.assert_unchanged(view)
    assert victim.pod in view.status.message


async def test_foreign_labels_and_finalizers_are_brought_back(world: World) -> None:
    """A definition that somebody else made and labelled is recreated with all of it."""
    foreign = {"labels": {"team": "vision"}, "annotations": {"note": "by hand"}, "finalizers": []}
    await world.create_definition(unit("WriterTask", 1), **foreign)
    await world.update(library(1))
    definitions, contents = await world.definitions(), world.replicas.contents()
    world.faults.fail("commit")
    view = await world.update(everything(), delete=[DELETED])
    await Before(world, definitions, contents).assert_unchanged(view)
    assert b'"team":"vision"' in (await world.definitions())[DELETED]


async def test_first_update_of_all_leaves_nothing_behind(world: World) -> None:
    world.faults.fail("verify")
    view = await world.update(library(1))
    assert view.status.outcome == "rolled_back", view.status.message
    assert await world.definitions() == {}
    assert world.replicas.versions("EncoderTask") == {None}


async def test_lost_answers_are_recognised(before: Before) -> None:
    """Each step has its effect twice asked for, and once there."""
    world = before.world
    for step in ["plan", *FORWARD, "finish"]:
        world.faults.lose_answer(step)
    view = await world.update(everything(), delete=[DELETED])
    assert view.status.outcome == "completed", view.status.message
    assert view.status.epoch == 2
    assert {step for step, attempt in world.faults.runs if attempt == 2} == {"plan", *FORWARD, "finish"}
    assert world.replicas.versions("EncoderTask") == {2}
    assert world.replicas.versions("WriterTask") == {None}


async def test_update_whose_compensation_fails_is_parked_and_resumed(before: Before) -> None:
    world = before.world
    world.faults.fail("verify")
    world.faults.fail("restore-definitions", code="ForeignWrite")
    request_id = await world.submit(everything(), delete=[DELETED])
    view = await world.ended(request_id)
    assert view.status.outcome == "needs_operator"
    assert f"taskroll resume {request_id}" in view.status.message
    assert [holder.entry.request_id for holder in (await read_fence(world.cluster, world.namespace)).holders] == [
        request_id
    ]
    await world.client.resume(request_id, ResumeInput(by="operator"))
    async with asyncio.timeout(30):
        while (view := await world.client.status(request_id)).status.outcome != "rolled_back":
            await asyncio.sleep(0.1)
    await before.assert_unchanged(view)
