"""What is live is taken into the release as it is: on a cluster that ran without taskroll, and beside a release."""

import pytest

from starter.package_request import DeployOptions
from starter.update_view import UpdateView
from taskroll.cluster.definitions import list_definitions
from taskroll.cluster.records import read_record, verify_records
from taskroll.cluster.releases import current_release
from taskroll.models.errors import InvalidRequest

from .sources import PACKAGE, library, task, unit
from .test_foreign_writes import delete, edit
from .world import QUICK, World

ENCODER, WRITER, SKETCH = "TaskDefinition/encoder-task", "TaskDefinition/writer-task", "TaskDefinition/sketch-task"


async def by_hand(world: World, **annotations: str) -> None:
    """The library as an earlier taskroll left it, or somebody without: with a label, and a commit."""
    for content in library(1):
        await world.create_definition(
            content, labels={"team": "ml"}, annotations={"taskroll.dev/git-commit": "0123456789abcdef", **annotations}
        )


async def adopt(world: World, *names: str, request_id: str = "adopt") -> UpdateView:
    request = await world.client.adoption_request(names, DeployOptions(request_id, "tester", "took over", QUICK))
    submission = await world.client.submit(request)
    return await world.ended(submission.request_id)


async def written(world: World) -> dict[str, str]:
    """Definition key → resourceVersion: another one after each write."""
    return {
        key: live.resource_version for key, live in (await list_definitions(world.cluster, world.namespace)).items()
    }


async def released(world: World) -> dict[str, str]:
    current = await current_release(world.cluster, world.namespace)
    return current.digests() if current else {}


async def test_the_first_release_is_what_is_live(world: World) -> None:
    # A list of an earlier taskroll's labels, one of which somebody took away: a write would shorten it.
    await by_hand(world, **{"taskroll.dev/managed-metadata": '{"annotations":[],"labels":["gone","team"]}'})
    before = await written(world)
    view = await adopt(world)
    assert (view.status.outcome, view.status.epoch) == ("completed", 1), view.status.message
    assert await written(world) == before, "no custom resource was written"
    live = await list_definitions(world.cluster, world.namespace)
    current = await current_release(world.cluster, world.namespace)
    assert current is not None
    assert current.definitions == {key: definition.entry for key, definition in live.items()}
    assert world.replicas.versions("SketchTask") == {1}
    record = (await read_record(world.cluster, world.namespace, "adopt")).record
    assert (record.origin, record.requested_by, record.reason) == ("adoption", "tester", "took over")
    assert {(change.definition, change.action) for change in record.changes} == {
        (key, "adopt") for key in (ENCODER, WRITER, SKETCH)
    }
    assert await verify_records(world.cluster, world.namespace) == []


async def test_the_same_request_again_is_the_same_adoption(world: World) -> None:
    await by_hand(world)
    first = await adopt(world)
    await edit(world, unit("EncoderTask", 7))
    again = await adopt(world)
    assert again.status.request_digest == first.status.request_digest
    assert (again.status.outcome, again.status.epoch) == ("completed", 1)
    named = await adopt(world, "encoder-task", "writer-task", SKETCH)
    assert named.status.request_digest == first.status.request_digest


async def test_an_update_follows_an_adoption_and_a_rollback_goes_back_to_it(world: World) -> None:
    await by_hand(world)
    await adopt(world)
    adopted = await world.definitions()
    assert (await world.update(library(2))).status.outcome == "completed"
    view = await world.update([], target_release=1)
    assert view.status.outcome == "completed", view.status.message
    assert await world.definitions() == adopted


async def test_definitions_of_one_module_that_disagree_are_named(world: World) -> None:
    module = f"{PACKAGE}.unit.pair"
    both = "class A:\n    pass\n\n\nclass B:\n    pass\n"
    await world.create_definition(task("A", module, both, is_unit=True))
    await world.create_definition(task("B", module, both + "\n# edited\n", is_unit=True))
    view = await adopt(world)
    assert view.status.outcome == "rejected"
    assert "TaskDefinition/a" in view.status.message
    assert "TaskDefinition/b" in view.status.message
    assert "different sources" in view.status.message
    assert await released(world) == {}


async def test_a_source_that_does_not_pass_the_checks_is_named(world: World) -> None:
    await world.create_definition(task("Bad", f"{PACKAGE}.unit.bad", "class Bad(:\n", is_unit=True))
    view = await adopt(world)
    assert view.status.outcome == "rejected"
    assert f"{PACKAGE}.unit.bad" in view.status.message


async def test_what_changed_after_it_was_looked_at_is_not_adopted(world: World) -> None:
    await by_hand(world)
    request = await world.client.adoption_request([], DeployOptions("adopt", "tester", policy=QUICK))
    await edit(world, unit("EncoderTask", 7))
    await world.client.submit(request)
    view = await world.ended("adopt")
    assert view.status.outcome == "rejected"
    assert ENCODER in view.status.message
    assert "taskroll adopt --dry-run" in view.status.message
    assert await released(world) == {}


async def test_an_edit_after_the_plan_is_not_adopted_and_stays(world: World) -> None:
    await by_hand(world)
    hold = world.faults.hold("patch")
    await world.client.submit(await world.client.adoption_request([], DeployOptions("adopt", "tester", policy=QUICK)))
    await hold.reached.wait()
    await edit(world, unit("EncoderTask", 7), exempt=True)
    edited = await world.definitions()
    hold.release()
    view = await world.ended("adopt")
    assert view.status.outcome == "rolled_back", view.status.message
    assert ENCODER in view.status.message
    assert await world.definitions() == edited
    assert await released(world) == {}


async def test_beside_a_release_an_edit_a_new_and_a_deleted_definition_are_taken(world: World) -> None:
    await world.update(library(1))
    await edit(world, unit("EncoderTask", 7))
    await world.create_definition(unit("RankerTask", 1))
    await delete(world, "sketch-task")
    before = await written(world)
    view = await adopt(world, "encoder-task", "TaskDefinition/ranker-task", "sketch-task")
    assert (view.status.outcome, view.status.epoch) == ("completed", 2), view.status.message
    assert await written(world) == before
    live = await list_definitions(world.cluster, world.namespace)
    assert await released(world) == {key: definition.entry.digest for key, definition in live.items()}
    assert world.replicas.versions("EncoderTask") == {7}
    assert world.replicas.versions("RankerTask") == {1}
    assert world.replicas.versions("SketchTask") == {None}


async def test_the_release_that_is_current_brings_back_what_was_edited(world: World) -> None:
    await world.update(library(1))
    before = await world.definitions()
    await edit(world, unit("EncoderTask", 7))
    await delete(world, "sketch-task")
    view = await world.update([], target_release=1)
    assert view.status.outcome == "completed", view.status.message
    assert await world.definitions() == before


@pytest.mark.parametrize(
    ("names", "said"),
    [
        ([], "release 1 exists already"),
        (["nobody"], "definition 'nobody': neither live nor in the release"),
        (["twin-task"], "may be ExecutionDescriptor/twin-task or TaskDefinition/twin-task"),
    ],
)
async def test_refused_beside_a_release(world: World, names: list[str], said: str) -> None:
    descriptor = unit("TwinTask", 1)
    spec = {
        "taskClassName": "TwinTask",
        "descriptorClassName": "TwinDescriptor",
        "moduleName": f"{PACKAGE}.twin",
        "sourceCode": task("TwinDescriptor", "m", "class TwinDescriptor: ...\n", is_unit=True).spec["sourceCode"],
        "isDefault": True,
    }
    twin = descriptor.model_copy(update={"kind": "ExecutionDescriptor", "spec": spec})
    assert (await world.update([unit("TwinTask", 1), twin])).status.outcome == "completed"
    with pytest.raises(InvalidRequest, match=said):
        await adopt(world, *names)


@pytest.mark.parametrize(
    ("names", "said"), [(["encoder-task"], "leave the names out"), ([], "nothing to adopt: no definition is live")]
)
async def test_refused_without_a_release(bare_world: World, names: list[str], said: str) -> None:
    if names:
        await by_hand(bare_world)
    with pytest.raises(InvalidRequest, match=said):
        await adopt(bare_world, *names)
