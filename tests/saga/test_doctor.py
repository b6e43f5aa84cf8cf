"""What ``taskroll doctor`` says of updates that nothing acts for, and of replicas; and whether its commands mend it."""

import shutil
from datetime import UTC, datetime

import pytest

from starter.doctor.findings import Finding, State
from taskroll.cluster.fence import raise_fence
from taskroll.cluster.fence_state import FenceEntry
from tests.starter.place import Place, environ_of

from .reconciling import recovered
from .sources import library, unit
from .test_foreign_writes import ENCODER, edit
from .world import World


async def findings(world: World, check: str, state: State | None = None) -> list[Finding]:
    diagnosis = await world.client.examine(lambda command: f"taskroll {command}")
    return [each for each in diagnosis.findings if each.check == check and (state is None or each.state == state)]


def shell(world: World) -> Place:
    return Place(world.client.settings, world.stack, environ_of(world.client.settings))


async def test_a_parked_update_is_resumed_by_the_command_when_the_cause_is_gone(world: World) -> None:
    await world.update(library(1))
    hold = world.faults.hold("patch")
    request_id = await world.submit(library(2))
    await hold.reached.wait()
    await edit(world, unit("EncoderTask", 7), exempt=True)
    hold.release()
    assert (await world.ended(request_id)).status.outcome == "needs_operator"
    (found,) = await findings(world, "updates", "problem")
    assert found.message.startswith(f"{request_id} needs an operator: ")
    assert ENCODER in found.message, "the reason is in it"
    resume, edit_first, release = found.remedies
    assert "--as-group=taskroll:system edit taskdefinition/encoder-task && taskroll resume" in edit_first.command
    (differs,) = await findings(world, "definitions", "warning")
    assert differs.message.endswith(f"behind the fence of {request_id}, which changes or restores them")
    assert (differs.details[0].partition(";")[0], differs.remedies) == (f"{ENCODER} was changed", [])
    assert release.command == f"taskroll release-fence {request_id} --reason 'WHY'"
    assert (await findings(world, "fence"))[0].details[0].startswith(f"{request_id} holds ")
    await edit(world, unit("EncoderTask", 1), exempt=True)
    ran = await shell(world).shell(f"{resume.command} --wait")
    assert ran.code == 11, ran.err
    ended = (await world.client.status(request_id)).status
    assert ENCODER in ended.message, "why it was taken back is still said"
    assert "resumed by" in ended.message
    assert [each.state for each in (await world.client.examine(str)).findings if each.check == "updates"] == ["ok"]


async def test_an_update_whose_workflow_was_terminated(world: World) -> None:
    await world.update(library(1))
    hold = world.faults.hold("commit")
    request_id = await world.submit(library(2))
    await hold.reached.wait()
    assert [each.state for each in await findings(world, "definitions")] == ["ok"], "the update is changing them"
    await world.handle(request_id).terminate()
    hold.release()
    (found,) = await findings(world, "updates", "problem")
    assert f"{request_id} has not ended" in found.message
    assert "its workflow terminated" in found.message
    assert [each.command for each in found.remedies] == [
        f"taskroll resume {request_id}",
        f"taskroll release-fence {request_id} --reason 'WHY'",
    ]
    ran = await shell(world).shell(found.remedies[0].command)
    assert ran.code == 0, ran.err
    await recovered(world, request_id)
    assert [each.state for each in await findings(world, "updates")] == ["ok"]


async def test_a_fence_that_is_left_of_an_ended_update_is_taken_down_by_the_command(world: World) -> None:
    ended = (await world.update(library(1))).status.request_id
    entry = FenceEntry(request_id=ended, exclusive=["TaskDefinition/encoder-task"], task_classes=["EncoderTask"])
    await raise_fence(world.cluster, world.namespace, entry, datetime.now(UTC))
    (found,) = await findings(world, "fence", "problem")
    assert f"{ended} ended, and the fence is still up" in found.message
    ran = await shell(world).shell(found.remedies[0].command)
    assert ran.code == 0, ran.err
    await recovered(world, ended)
    assert [each.state for each in await findings(world, "fence")] == ["ok"]


async def test_a_replica_that_does_not_answer_is_started_anew_by_the_command(world: World) -> None:
    await world.update(library(1))
    assert (await findings(world, "replicas"))[0].message == "all 5 replicas attest it"
    crashed = next(each for each in world.replicas.running if each.service == "dispatcher")
    await world.replicas.stop(crashed, delete_pod=False)
    (found,) = await findings(world, "replicas", "problem")
    assert found.message == "1 of 5 replicas do not attest release 1"
    assert f"dispatcher/{crashed.pod}" in found.details[0]
    assert "attests nothing" in found.details[0]
    if shutil.which("kubectl") is None:
        pytest.skip("the command is one of kubectl's, and this machine has none")
    ran = await shell(world).shell(found.remedies[0].command)
    assert ran.code == 0, ran.err
    # As its ReplicaSet does.
    await world.replicas.start("dispatcher")
    assert (await findings(world, "replicas"))[0].message == "all 5 replicas attest it"


async def test_a_replica_that_does_not_answer_while_an_update_is_under_way(world: World) -> None:
    """The update moves it or goes back: nothing is to be deleted by hand meanwhile."""
    await world.update(library(1))
    hold = world.faults.hold("stage")
    request_id = await world.submit(library(2))
    await hold.reached.wait()
    crashed = next(each for each in world.replicas.running if each.service == "dispatcher")
    await world.replicas.stop(crashed, delete_pod=False)
    (found,) = await findings(world, "replicas", "warning")
    assert found.message == f"1 of 5 replicas do not attest release 1, while {request_id} is under way"
    assert found.remedies == []
    hold.release()
    await world.ended(request_id)


async def test_a_service_with_too_few_replicas(world: World) -> None:
    await world.update(library(1))
    for replica in [each for each in world.replicas.running if each.service == "gateway"]:
        await world.replicas.stop(replica)
    (found,) = await findings(world, "replicas", "problem")
    assert found.message == "services have fewer replicas than they must"
    assert found.details[0].startswith("gateway: found 0 replicas")


async def test_versions_show_custom_resources_that_differ(world: World) -> None:
    await world.update(library(1))
    await world.create_definition(unit("RankerTask", 1))
    assert (await shell(world).run("versions", "--check")).code == 0, "one in no release is none that deviates"
    await edit(world, unit("EncoderTask", 7))
    report = await world.client.versions()
    assert report.is_uniform()
    assert (report.drifted(), report.unmanaged()) == ([ENCODER], ["TaskDefinition/ranker-task"])
    assert len(report.replicas) == 5
    ran = await shell(world).run("versions", "--check")
    assert ran.code == 15
    assert f"custom resources not what was released: {ENCODER}; see: taskroll doctor" in ran.out
    assert "custom resources in no release: TaskDefinition/ranker-task; see: taskroll doctor" in ran.out
    assert any(line.startswith(ENCODER) and " !" in line for line in ran.out.splitlines())
