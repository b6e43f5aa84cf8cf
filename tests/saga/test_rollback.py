"""Rollback to any known-good release: definitions byte for byte, and what each replica attests."""

import pytest

from taskroll.cluster.releases import list_releases
from taskroll.models.errors import UnknownRelease

from .sources import composite, library, unit
from .world import World


def attested(world: World) -> set[str]:
    return {
        str(sorted((replica.agent.attest(None, full=True).definitions or {}).items()))
        for replica in world.replicas.running
    }


async def test_after_five_updates_back_to_the_first(world: World) -> None:
    await world.update(library(1))
    definitions, contents, first = await world.definitions(), world.replicas.contents(), attested(world)
    writer = next(key for key in definitions if key.endswith("/writer-task"))
    for number, change in enumerate(
        [
            {"definitions": library(2)},
            {"definitions": [unit("RankerTask", 1)]},
            {"definitions": [composite("SketchTask", 3, "EncoderTask", "RankerTask")]},
            {"definitions": [], "delete": [writer]},
            {"definitions": [unit("EncoderTask", 5)]},
        ]
    ):
        view = await world.update(**change)
        assert (view.status.outcome, view.status.epoch) == ("completed", number + 2), view.status.message
    assert await world.definitions() != definitions
    view = await world.update([], target_release=1)
    assert view.status.outcome == "completed", view.status.message
    assert view.status.epoch == 7
    assert await world.definitions() == definitions
    assert world.replicas.contents() == contents
    assert attested(world) == first
    releases = await list_releases(world.cluster, world.namespace)
    assert releases[0].content_digest() == releases[-1].content_digest()
    assert releases[0].origin == "rollback"


async def test_without_a_target_it_is_the_one_before(world: World) -> None:
    await world.update(library(1))
    await world.update(library(2))
    submission = await world.client.rollback("back-1", requested_by="tester")
    view = await world.ended(submission.request_id)
    assert view.status.outcome == "completed", view.status.message
    assert world.replicas.versions("EncoderTask") == {1}


@pytest.mark.parametrize("to", [99, 2])
async def test_unknown_and_bad_releases_are_refused_with_those_that_may_be_chosen(world: World, to: int) -> None:
    await world.update(library(1))
    world.faults.fail("verify")
    assert (await world.update(library(2))).status.outcome == "rolled_back"
    with pytest.raises(UnknownRelease, match="1"):
        await world.client.rollback("back-2", requested_by="tester", to=to)


async def test_rollback_to_what_is_live_changes_nothing(world: World) -> None:
    await world.update(library(1))
    view = await world.update([], target_release=1)
    assert view.status.outcome == "no_change"
    assert len(await list_releases(world.cluster, world.namespace)) == 1
