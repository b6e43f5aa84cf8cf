"""``taskroll adopt``, each command a process of its own."""

import json
from collections.abc import Callable
from pathlib import Path

from starter.client import TaskrollClient

from .place import Place

Package = Callable[..., Path]


async def test_shows_what_it_would_take_then_takes_it(place: Place, package: Package, client: TaskrollClient) -> None:
    await place.put_by_hand(package(1, tasks=("Echo", "Shout")))
    before = {key: live.resource_version for key, live in (await client.cluster.definitions()).items()}
    shown = await place.run("adopt", "--dry-run", TEMPORAL_ADDRESS="127.0.0.1:1")
    assert shown.code == 0, shown.err
    assert [line.split()[:2] for line in shown.out.splitlines()[1:3]] == [
        ["=", "TaskDefinition/echo"],
        ["=", "TaskDefinition/shout"],
    ]
    assert "2 to adopt" in shown.out
    assert await client.cluster.current_release() is None
    ran = await place.run("adopt", "--request-id", "one", "--reason", "took over", "-o", "json")
    assert ran.code == 0, ran.err
    assert (ran.document()["status"]["outcome"], ran.document()["status"]["epoch"]) == ("completed", 1)
    assert {key: live.resource_version for key, live in (await client.cluster.definitions()).items()} == before
    history = (await place.run("history", "-o", "json")).document()["releases"]
    assert [(line["epoch"], line["origin"], line["reason"]) for line in history] == [(1, "adoption", "took over")]
    again = await place.run("adopt", "--request-id", "one", "--reason", "took over")
    assert (again.code, "had ended before" in again.err) == (0, True), again.err


async def test_refused_where_a_release_exists_with_the_way_out(place: Place, package: Package) -> None:
    await place.deployed(package(1))
    for more in ((), ("--dry-run",)):
        ran = await place.run("adopt", *more)
        assert (ran.code, ran.out) == (2, "")
        assert "release 1 exists already" in ran.err
        assert "taskroll doctor" in ran.err
        assert "taskroll rollback --to 1" in ran.err


async def test_what_is_gone_already_shows_in_a_dry_run(place: Place, package: Package) -> None:
    await place.deployed(package(1, tasks=("Echo", "Shout")))
    await place.delete_definition("shout")
    ran = await place.run("adopt", "shout", "--dry-run")
    assert (ran.code, ran.out) == (0, "gone already, and then gone from the release: TaskDefinition/shout\n"), ran.err
    assert (await place.run("adopt", "shout")).code == 0
    assert (await place.run("adopt", "echo", "--dry-run")).code == 10


async def test_a_dry_run_says_where_the_fence_would_not_be_enforced(
    place: Place, package: Package, without_a_policy: str
) -> None:
    folder = str(package(1))
    required = await place.run("deploy", folder, "--dry-run")
    assert required.code == 0
    assert "the update would be rejected: admission policies" in required.err
    assert without_a_policy in required.err
    effort = json.loads((await place.run("deploy", folder, "--dry-run", "--fence", "best-effort", "-o", "json")).out)
    assert any("would not enforce the whole fence" in warning for warning in effort["warnings"])
