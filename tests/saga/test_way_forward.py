"""The way forward: an update that meets no trouble."""

from .sources import library
from .world import World


async def test_first_update_reaches_every_replica(world: World) -> None:
    view = await world.update(library(1))
    assert view.status.outcome == "completed", view.status.message
    assert world.replicas.versions("EncoderTask") == {1}


async def test_second_update_replaces_classes_everywhere(world: World) -> None:
    await world.update(library(1))
    view = await world.update(library(2))
    assert view.status.outcome == "completed", view.status.message
    assert (view.status.epoch_before, view.status.epoch, view.status.replicas) == (1, 2, 5)
    assert world.replicas.versions("EncoderTask") == world.replicas.versions("SketchTask") == {2}
    assert world.replicas.versions("WriterTask") == {1}
