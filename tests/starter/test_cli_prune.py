"""``taskroll prune``: what goes, what stays, and what can still be done afterwards."""

from collections.abc import Callable
from pathlib import Path

import pytest

from starter.client import TaskrollClient
from taskroll.cluster.objects import list_objects
from taskroll.cluster.resources import CONTROLLER_REVISION
from taskroll.models.decision import AbortInput, DecisionInput
from taskroll_agent.contracts import DefinitionKey, revision_name

from .place import Place

Package = Callable[..., Path]
NOW = ("--older-than", "0")


@pytest.fixture
async def four(place: Place, package: Package) -> None:
    """Four releases of one definition."""
    for version in range(1, 5):
        assert (await place.deployed(package(version), f"v{version}")).status.epoch == version


async def stored(client: TaskrollClient, type: str) -> set[str]:
    cluster = await client.cluster.connection()
    labels = {"taskroll.dev/type": type}
    return {
        item.name for item in await list_objects(cluster, CONTROLLER_REVISION, client.settings.namespace, labels=labels)
    }


async def revisions_of(client: TaskrollClient, *epochs: int) -> set[str]:
    key = "TaskDefinition/echo"
    digests = {release.epoch: release.digests()[key] for release in await client.cluster.releases()}
    return {revision_name(DefinitionKey.parse(key), digests[epoch]) for epoch in epochs}


async def test_the_sources_and_plans_of_older_releases_go(place: Place, client: TaskrollClient, four: None) -> None:
    everything = await stored(client, "definition")
    shown = await place.run("prune", "--keep", "2", *NOW, "--dry-run")
    assert shown.code == 0, shown.err
    assert "4 objects would be deleted; releases that a rollback can choose: 4, 3" in shown.out
    assert await stored(client, "definition") == everything
    ran = await place.run("prune", "--keep", "2", *NOW, "-o", "json")
    assert ran.code == 0, ran.err
    assert ran.document()["kept_releases"] == [4, 3]
    assert await stored(client, "definition") == await revisions_of(client, 4, 3)
    assert await stored(client, "plan") == {"taskroll-plan-v3-1", "taskroll-plan-v4-1"}
    assert len(await stored(client, "release")) == len(await stored(client, "request")) == 4
    assert (await place.run("prune", "--keep", "2", *NOW)).code == 10
    assert (await place.run("doctor")).code == 0
    assert [line.epoch for line in await client.history()] == [4, 3, 2, 1]


async def test_a_rollback_goes_to_what_is_kept_and_to_nothing_else(
    place: Place, package: Package, client: TaskrollClient, four: None
) -> None:
    assert (await place.run("prune", "--keep", "1", *NOW)).code == 0
    gone = await place.run("rollback", "--to", "1")
    assert (gone.code, gone.out) == (3, "")
    assert "release 1 cannot be brought back: the sources of TaskDefinition/echo are no longer stored" in gone.err
    # The newest good one that differs is kept whatever the number.
    back = await place.run("rollback", "-o", "json")
    assert (back.code, back.document()["status"]["epoch"]) == (0, 5), back.err
    # A package that was released before is sent again.
    again = await place.run("deploy", str(package(1)), "-o", "json")
    assert (again.code, again.document()["status"]["epoch"]) == (0, 6), again.err


async def test_what_an_open_update_needs_stays(
    place: Place, package: Package, client: TaskrollClient, four: None
) -> None:
    waits = ("deploy", str(package(1)), "--approval", "required", "--request-id", "open", "--no-wait")
    assert (await place.run(*waits)).code == 0
    async for view in client.watch("open"):
        if view.status.phase == "awaiting-approval":
            break
    assert (await place.run("prune", "--keep", "1", *NOW)).code == 0
    assert await stored(client, "definition") == await revisions_of(client, 4, 3, 1)
    assert "taskroll-plan-open-1" in await stored(client, "plan")
    await client.decide("open", DecisionInput(decision="approved", by="reviewer"))
    assert (await client.wait("open")).status.outcome == "completed"


async def test_what_was_submitted_and_not_started_stays(
    place: Place, idle_client: TaskrollClient, idle_place: Place, package: Package
) -> None:
    assert (await idle_place.run("deploy", str(package(1)), "--request-id", "waits", "--no-wait")).code == 0
    assert len(await stored(idle_client, "definition")) == 1
    assert (await idle_place.run("prune", "--keep", "1", *NOW)).code == 10
    assert len(await stored(idle_client, "definition")) == 1
    await idle_client.abort("waits", AbortInput(by="tester"))


async def test_what_was_stored_lately_stays(place: Place, client: TaskrollClient, four: None) -> None:
    before = await stored(client, "definition")
    assert (await place.run("prune", "--keep", "1")).code == 10
    assert await stored(client, "definition") == before


async def test_a_developer_may_not(place: Place, four: None) -> None:
    ran = await place.run("prune", "--keep", "1", *NOW, TASKROLL_CONTEXT="developer")
    assert (ran.code, ran.out) == (6, "")
    assert "delete ControllerRevision" in ran.err
