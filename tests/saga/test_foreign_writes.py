"""Somebody else writes custom resources: it is seen, named, and never overwritten unseen."""

import pytest

from taskroll.cluster.fence import read_fence
from taskroll.cluster.releases import current_release, list_releases
from taskroll.models.request import UpdateRequest
from taskroll_agent.contracts import DefinitionContent

from .sources import PACKAGE, library, task, unit
from .world import CORNSERVE, World

ENCODER = "TaskDefinition/encoder-task"


async def edit(world: World, content: DefinitionContent, *, exempt: bool = False) -> None:
    """Change a custom resource by hand, past taskroll; with `exempt` also past its admission policies."""
    await (world.exempt if exempt else world.custom).patch_namespaced_custom_object(
        *CORNSERVE,
        world.namespace,
        "taskdefinitions",
        content.name,
        {"spec": content.spec},
        _content_type="application/merge-patch+json",
    )


async def delete(world: World, name: str) -> None:
    await world.custom.delete_namespaced_custom_object(*CORNSERVE, world.namespace, "taskdefinitions", name)


async def test_deploying_what_was_edited_in_by_hand_reaches_the_replicas(world: World) -> None:
    """The custom resource is as wanted already, and no replica runs it."""
    await world.update(library(1))
    await edit(world, unit("EncoderTask", 2))
    assert world.replicas.versions("EncoderTask") == {1}
    view = await world.update([unit("EncoderTask", 2)])
    assert view.status.outcome == "completed", view.status.message
    assert view.status.plan is not None
    assert any("changed by somebody else" in warning for warning in view.status.plan.warnings)
    assert world.replicas.versions("EncoderTask") == {2}


async def test_first_update_of_a_cluster_that_has_these_definitions_already(world: World) -> None:
    for content in library(1):
        await world.create_definition(content)
    before = await world.definitions()
    view = await world.update(library(1))
    assert view.status.outcome == "completed", view.status.message
    assert world.replicas.versions("EncoderTask") == {1}
    assert await world.definitions() == before


async def test_a_broken_definition_of_somebody_else_that_builds_on_a_changed_one_is_named(world: World) -> None:
    await world.update(library(1))
    source = f"from {PACKAGE}.unit.encodertask import EncoderTask\n"
    await world.create_definition(task("StrayTask", f"{PACKAGE}.unit.straytask", source, is_unit=True))
    view = await world.update(library(2))
    assert view.status.outcome == "rejected"
    assert "take it away first: kubectl delete taskdefinition stray-task" in view.status.message
    await delete(world, "stray-task")
    assert (await world.update(library(2))).status.outcome == "completed"


async def test_deletion_of_what_is_not_there_is_a_warning(world: World) -> None:
    await world.update(library(1))
    absent, there = "TaskDefinition/writter-task", "TaskDefinition/writer-task"
    request = UpdateRequest(
        request_id="u-dry", namespace=world.namespace, requested_by="tester", delete=[absent, there]
    )
    dry = await world.client.offline_plan(request)
    view = await world.update([], delete=[absent, there])
    assert view.status.plan is not None
    assert view.status.plan.delete == [change.definition for change in dry.changes] == [there]
    for warnings in (dry.warnings, view.status.plan.warnings):
        assert [warning for warning in warnings if "delete" in warning] == [
            f"delete: there is no {absent}, neither live nor released: nothing is done about it; is the name right?"
        ]


async def test_definition_that_somebody_deleted_can_be_deleted(world: World) -> None:
    await world.update(library(1))
    await delete(world, "writer-task")
    view = await world.update([], delete=["TaskDefinition/writer-task"])
    assert view.status.outcome == "completed", view.status.message
    assert world.replicas.versions("WriterTask") == {None}


@pytest.mark.parametrize("step", ["commit", "verify"])
async def test_update_over_a_foreign_edit_is_taken_back_to_it(world: World, step: str) -> None:
    """The custom resource goes back to the edit, the release and the replicas to what was released."""
    await world.update(library(1))
    released = world.replicas.contents()
    await edit(world, unit("EncoderTask", 7))
    edited = await world.definitions()
    world.faults.fail(step, "after")
    view = await world.update([unit("EncoderTask", 2)])
    assert view.status.outcome == "rolled_back", view.status.message
    assert await world.definitions() == edited
    assert world.replicas.contents() == released
    current = await current_release(world.cluster, world.namespace)
    assert current is not None
    assert {current.content_digest()} == released


async def test_foreign_edit_during_the_update_stops_it_and_stays(world: World) -> None:
    await world.update(library(1))
    contents = world.replicas.contents()
    hold = world.faults.hold("patch")
    request_id = await world.submit(library(2))
    await hold.reached.wait()
    await edit(world, unit("EncoderTask", 7), exempt=True)
    edited = (await world.definitions())[ENCODER]
    hold.release()
    view = await world.ended(request_id)
    assert view.status.outcome == "needs_operator", view.status.message
    assert ENCODER in view.status.message
    assert (await world.definitions())[ENCODER] == edited
    assert world.replicas.contents() == contents
    assert [holder.entry.request_id for holder in (await read_fence(world.cluster, world.namespace)).holders] == [
        request_id
    ]
    assert len(await list_releases(world.cluster, world.namespace)) == 1
