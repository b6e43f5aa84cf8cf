"""Updates at the same time: those that overlap wait for each other, the others do not."""

import asyncio
import random
from dataclasses import dataclass

import pytest

from taskroll.cluster.fence import read_fence
from taskroll.cluster.releases import list_releases
from taskroll.devstack import StackInfo
from taskroll_agent.contracts import DefinitionContent

from .replicas import TOKEN
from .sources import composite, library, unit
from .world import PATIENT, QUICK, TOKEN_VARIABLE, World, create_world


async def test_overlapping_update_waits_in_line_and_says_for_whom(world: World) -> None:
    await world.update(library(1))
    hold = world.faults.hold("stage", "before")
    first = await world.submit([unit("EncoderTask", 2), composite("SketchTask", 2, "EncoderTask")])
    await hold.reached.wait()
    second = await world.submit([composite("SketchTask", 3, "EncoderTask")])
    view = await world.waiting(second, first)
    assert view.status.phase == "queued"
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


UNITS = [f"Unit{letter}Task" for letter in "ABCDEF"]


@dataclass
class Changes:
    """Random updates of a library in which composites import unit tasks."""

    chance: random.Random
    version: int = 1

    def __post_init__(self) -> None:
        self.composites = {f"Comp{letter}Task": self.chance.sample(UNITS, 2) for letter in "ABCD"}

    def everything(self) -> list[DefinitionContent]:
        return [unit(name, 1) for name in UNITS] + [composite(name, 1, *uses) for name, uses in self.composites.items()]

    def pair(self) -> list[list[DefinitionContent]]:
        """Two updates; the second changes something of the first one's, so they overlap."""
        shared = self.chance.choice(UNITS)
        return [self._change(shared), self._change(shared)]

    def _change(self, shared: str) -> list[DefinitionContent]:
        self.version += 1
        units = {shared, *self.chance.sample(UNITS, self.chance.randint(0, 2))}
        composites = self.chance.sample(sorted(self.composites), self.chance.randint(0, 2))
        return [unit(name, self.version) for name in sorted(units)] + [
            composite(name, self.version, *self.composites[name]) for name in composites
        ]


async def ten_pairs(stack: StackInfo, seed: int) -> None:
    async with create_world(stack, TOKEN_VARIABLE) as world:
        await world.start_worker()
        await world.replicas.start("gateway", 1)
        await world.replicas.start("dispatcher", 1)
        changes = Changes(random.Random(seed))
        await world.update(changes.everything(), policy=PATIENT)
        for _ in range(10):
            views = await asyncio.gather(*(world.update(change, policy=PATIENT) for change in changes.pair()))
            outcomes = [(view.status.outcome, view.status.message) for view in views]
            assert [outcome for outcome, _ in outcomes] == ["completed", "completed"], outcomes
        fence = await read_fence(world.cluster, world.namespace)
        assert not fence.holders
        assert not fence.line
        releases = await list_releases(world.cluster, world.namespace)
        assert [release.epoch for release in releases] == list(range(21, 0, -1))
        assert world.replicas.contents() == {releases[0].content_digest()}


@pytest.mark.slow
async def test_fifty_random_pairs_of_overlapping_closures_end_well(
    installed_stack: StackInfo, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both of each pair end completed, in some order: five libraries side by side, ten pairs in each."""
    monkeypatch.setenv(TOKEN_VARIABLE, TOKEN)
    await asyncio.gather(*(ten_pairs(installed_stack, seed) for seed in range(5)))
