"""Updates at the same time: those that overlap wait for each other, the others do not."""

import asyncio
import random

from taskroll.cluster.fence import read_fence
from taskroll.cluster.releases import list_releases

from .sources import composite, library, unit
from .world import QUICK, World

PATIENT = QUICK.model_copy(update={"fence_timeout": 120.0, "rollback_timeout": 60.0})


async def test_overlapping_update_waits_in_line_and_says_for_whom(world: World) -> None:
    await world.update(library(1))
    hold = world.faults.hold("stage", "before")
    first = await world.submit([unit("EncoderTask", 2), composite("SketchTask", 2, "EncoderTask")])
    await hold.reached.wait()
    second = await world.submit([composite("SketchTask", 3, "EncoderTask")])
    view = await world.waiting(second, first)
    assert view.status.phase == "draining"
    hold.release()
    views = [await world.ended(request_id) for request_id in (first, second)]
    assert [view.status.outcome for view in views] == ["completed", "completed"]
    assert world.replicas.versions("SketchTask") == {3}
    assert world.replicas.versions("EncoderTask") == {2}


async def test_updates_that_do_not_overlap_run_side_by_side(world: World) -> None:
    await world.update(library(1))
    hold = world.faults.hold("verify", "before")
    first = await world.submit([unit("WriterTask", 2)])
    await hold.reached.wait()
    second = await world.update([unit("EncoderTask", 2), composite("SketchTask", 2, "EncoderTask")])
    assert second.status.outcome == "completed", second.status.message
    hold.release()
    view = await world.ended(first)
    assert view.status.outcome == "completed", view.status.message
    assert world.replicas.versions("WriterTask") == world.replicas.versions("EncoderTask") == {2}


async def test_rollback_beside_a_later_release_takes_back_only_its_own(world: World) -> None:
    await world.update(library(1))
    hold = world.faults.hold("verify", "before")
    first = await world.submit([unit("WriterTask", 2)])
    await hold.reached.wait()
    second = await world.update([unit("EncoderTask", 2), composite("SketchTask", 2, "EncoderTask")])
    assert second.status.outcome == "completed", second.status.message
    await world.handle(first).cancel()
    view = await world.ended(first)
    assert view.status.outcome == "rolled_back", view.status.message
    assert world.replicas.versions("WriterTask") == {1}
    assert world.replicas.versions("EncoderTask") == {2}


async def test_waiting_too_long_in_line_ends_the_update(world: World) -> None:
    await world.update(library(1))
    hold = world.faults.hold("stage", "before")
    first = await world.submit(library(2))
    await hold.reached.wait()
    view = await world.update(library(3), policy=QUICK.model_copy(update={"fence_timeout": 1.5}))
    assert view.status.outcome == "rolled_back"
    assert first in view.status.message
    hold.release()
    assert (await world.ended(first)).status.outcome == "completed"


async def test_fifty_random_pairs_end_well(bare_world: World) -> None:
    """Random closures over a library with imports; both of each pair end completed, in some order."""
    world = bare_world
    await world.start_worker()
    await world.replicas.start("gateway", 1)
    await world.replicas.start("dispatcher", 1)
    chance = random.Random(20261124)
    units = [f"Unit{letter}Task" for letter in "ABCDEF"]
    composites = {f"Comp{letter}Task": chance.sample(units, 2) for letter in "ABCD"}
    version = 1
    await world.update(
        [unit(name, 1) for name in units] + [composite(name, 1, *uses) for name, uses in composites.items()],
        policy=PATIENT,
    )

    def change() -> list:
        nonlocal version
        version += 1
        chosen = chance.sample(units, chance.randint(0, 3))
        also = chance.sample(sorted(composites), chance.randint(0 if chosen else 1, 2))
        return [unit(name, version) for name in chosen] + [composite(name, version, *composites[name]) for name in also]

    async def pair() -> None:
        views = await asyncio.gather(*(world.update(change(), policy=PATIENT) for _ in range(2)))
        assert [view.status.outcome for view in views] == ["completed", "completed"], [v.status.message for v in views]

    for _ in range(10):
        await asyncio.gather(*(pair() for _ in range(5)))
    fence = await read_fence(world.cluster, world.namespace)
    assert not fence.holders
    assert not fence.line
    releases = await list_releases(world.cluster, world.namespace)
    assert [release.epoch for release in releases] == list(range(101, 0, -1))
    assert world.replicas.contents() == {releases[0].content_digest()}
