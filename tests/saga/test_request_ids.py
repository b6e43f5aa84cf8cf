"""The same request twice is one update; another request under the same id is refused."""

import asyncio

import pytest

from taskroll.cluster.releases import list_releases
from taskroll.models.apps import AppSource
from taskroll.models.errors import RequestConflict

from .sources import library
from .world import QUICK, World


async def test_same_request_at_once_ten_times(world: World) -> None:
    await asyncio.gather(*(world.submit(library(1), request_id="same") for _ in range(10)))
    view = await world.ended("same")
    assert view.status.outcome == "completed", view.status.message
    assert len(await list_releases(world.cluster, world.namespace)) == 1
    assert [name for name, _ in world.faults.runs].count("plan") == 1


async def test_same_request_after_its_end(world: World) -> None:
    first = await world.update(library(1), request_id="same")
    again = await world.update(library(1), request_id="same")
    assert again.status.steps == first.status.steps
    assert len(await list_releases(world.cluster, world.namespace)) == 1


async def test_same_content_under_another_id_is_no_change(world: World) -> None:
    await world.update(library(1))
    view = await world.update(library(1))
    assert view.status.outcome == "no_change"
    assert [step.name for step in view.status.steps] == ["plan"]


@pytest.mark.parametrize(
    "other",
    [
        {"definitions": library(2)},
        {"definitions": library(1)[:2]},
        {"definitions": library(1), "policy": QUICK.model_copy(update={"drain": "refuse"})},
        {"definitions": library(1), "policy": QUICK.model_copy(update={"drain": "shutdown", "grace": 1.0})},
        {"definitions": library(1), "apps": [AppSource(id="app-1", source="import json\n")]},
        {"definitions": [], "target_release": 1},
    ],
)
async def test_other_request_under_the_id_is_refused_with_both_digests(world: World, other: dict) -> None:
    await world.update(library(1), request_id="same")
    with pytest.raises(RequestConflict) as caught:
        await world.submit(**other, request_id="same")
    assert caught.value.known != caught.value.sent
    assert caught.value.known in caught.value.message
    assert caught.value.sent in caught.value.message
    assert len(await list_releases(world.cluster, world.namespace)) == 1
