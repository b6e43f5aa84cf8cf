"""The first update of a namespace that ran without taskroll: what is live comes along, and is loaded too."""

import pytest

from taskroll.cluster.definitions import list_definitions
from taskroll.cluster.releases import current_release

from .sources import composite, library, task, unit
from .world import World

SKETCH = "TaskDefinition/sketch-task"


async def by_hand(world: World) -> None:
    for content in library(1):
        await world.create_definition(content)


async def test_unchanged_definitions_are_prepared_with_the_change(world: World) -> None:
    """The composite is not in the request, and imports the unit task that is."""
    await by_hand(world)
    view = await world.update([unit("EncoderTask", 2)])
    assert (view.status.outcome, view.status.epoch) == ("completed", 1), view.status.message
    assert world.replicas.versions("EncoderTask") == {2}
    assert world.replicas.versions("SketchTask") == world.replicas.versions("WriterTask") == {1}
    for replica in world.replicas.running:
        with replica.agent.registry.lease() as generation:
            assert [generation.get("EncoderTask")] == generation.get("SketchTask").USES
    live = await list_definitions(world.cluster, world.namespace)
    release = await current_release(world.cluster, world.namespace)
    assert release is not None
    assert release.digests() == {key: found.entry.digest for key, found in live.items()}


async def test_plan_says_what_comes_along(world: World) -> None:
    await by_hand(world)
    hold = world.faults.hold("fence")
    request_id = await world.submit([unit("EncoderTask", 2)])
    await hold.reached.wait()
    plan = (await world.client.status(request_id)).status.plan
    assert plan is not None
    assert (plan.change, plan.closure) == (["TaskDefinition/encoder-task"], 2)
    [warning] = plan.warnings
    assert "no release yet" in warning
    assert f"{SKETCH}, TaskDefinition/writer-task" in warning
    assert "taskroll adopt" in warning
    hold.release()
    assert (await world.ended(request_id)).status.outcome == "completed"
    later = await world.update([unit("EncoderTask", 3)])
    assert later.status.outcome == "completed"
    assert later.status.epoch == 2


FINAL = unit("EncoderTask", 2, body="    def __init_subclass__(cls):\n        raise TypeError('no base')\n")
DERIVED = task(
    "SketchTask",
    composite("SketchTask", 1).module,
    f"from {unit('EncoderTask', 1).module} import EncoderTask\n\n\nclass SketchTask(EncoderTask):\n    VERSION = 1\n",
    is_unit=False,
)


async def test_change_that_an_unchanged_definition_does_not_import_with_is_refused(world: World) -> None:
    """The text of both is right: only an import shows that they do not go together."""
    for content in [unit("EncoderTask", 1), DERIVED]:
        await world.create_definition(content)
    before = await world.definitions()
    view = await world.update([FINAL])
    assert view.status.outcome == "rolled_back"
    assert SKETCH in view.status.message
    assert "TypeError" in view.status.message
    assert await world.definitions() == before
    assert await current_release(world.cluster, world.namespace) is None


@pytest.mark.parametrize("step", ["patch", "verify"])
async def test_first_update_that_is_taken_back(world: World, step: str) -> None:
    await by_hand(world)
    before = await world.definitions()
    world.faults.fail(step, "after")
    view = await world.update([unit("EncoderTask", 2)])
    assert view.status.outcome == "rolled_back", view.status.message
    assert await world.definitions() == before
    expected = {1} if step == "verify" else {None}
    assert world.replicas.versions("EncoderTask") == world.replicas.versions("SketchTask") == expected
