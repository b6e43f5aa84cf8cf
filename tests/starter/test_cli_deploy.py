"""``taskroll deploy`` and ``rollback`` on the real stack, each command a process of its own."""

import asyncio
import json
import re
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from starter.client import TaskrollClient
from taskroll.models.decision import AbortInput

from .place import Place

Package = Callable[..., Path]


async def test_deploys_and_says_how_it_ended(place: Place, package: Package) -> None:
    ran = await place.run("deploy", str(package(1)), "--request-id", "one", "--reason", "a reason", "-o", "json")
    assert ran.code == 0, ran.err
    status = ran.document()["status"]
    assert (status["outcome"], status["epoch"], status["reason"], status["requested_by"]) == (
        "completed",
        1,
        "a reason",
        "tester",
    )
    # Progress is for stderr: a line per step, and no control characters where no terminal reads it.
    assert "verify: done" in ran.err
    assert "\x1b" not in ran.err + ran.out


async def test_a_made_up_request_id_is_shown_before_and_can_be_used_again(place: Place, package: Package) -> None:
    first = await place.run("deploy", str(package(1)), "--no-wait")
    assert first.code == 0, first.err
    request_id = first.out.strip()
    assert first.err.startswith(f"request id {request_id}\n")
    assert request_id.startswith("probe-tasks-")
    again = await place.run("deploy", str(package(1)), "--request-id", request_id)
    assert again.code == 0, again.err
    assert "the same request was sent before" in again.err or "had ended before" in again.err


async def test_the_same_content_is_no_change(place: Place, package: Package) -> None:
    await place.deployed(package(1))
    ran = await place.run("deploy", str(package(1)), "-o", "yaml")
    assert ran.code == 10
    assert yaml.safe_load(ran.out)["status"]["outcome"] == "no_change"


async def test_the_same_id_with_other_content_is_refused_with_both_digests(place: Place, package: Package) -> None:
    first = await place.deployed(package(1), "one")
    ran = await place.run("deploy", str(package(2)), "--request-id", "one")
    assert (ran.code, ran.out) == (5, "")
    assert first.status.request_digest in ran.err
    assert ran.err.count("sha256:") == 2
    other_policy = await place.run("deploy", str(package(1)), "--request-id", "one", "--drain", "refuse")
    assert other_policy.code == 5


async def test_the_same_command_twice_at_once_is_one_update(place: Place, package: Package) -> None:
    command = ("deploy", str(package(1)), "--request-id", "one", "-o", "json")
    both = await asyncio.gather(place.run(*command), place.run(*command))
    assert [ran.code for ran in both] == [0, 0], both
    assert len({ran.document()["status"]["started_at"] for ran in both}) == 1
    listed = await place.run("list", "-o", "json")
    assert [update["request_id"] for update in listed.document()["updates"]] == ["one"]


async def test_a_package_that_cannot_be_deployed_changes_nothing(
    place: Place, package: Package, client: TaskrollClient
) -> None:
    folder = package(1)
    (folder / "echo.py").write_text("class Echo(Unit:\n")
    ran = await place.run("deploy", str(folder), "--request-id", "one")
    assert (ran.code, ran.out) == (2, "")
    assert "probe_tasks.echo:1" in ran.err
    assert await client.cluster.request("one") is None
    assert await client.cluster.definitions() == {}


async def test_dry_run_shows_what_would_change_and_writes_nothing(
    place: Place, package: Package, client: TaskrollClient
) -> None:
    await place.deployed(package(1, tasks=("Echo", "Gone")))
    before = await client.cluster.definitions()
    folder = package(2, tasks=("Echo", "Added"))
    ran = await place.run("deploy", str(folder), "--dry-run", "--prune", TEMPORAL_ADDRESS="127.0.0.1:1")
    assert ran.code == 0, ran.err
    lines = ran.out.splitlines()
    assert [line.split()[:2] for line in lines[1:4]] == [
        ["+", "TaskDefinition/added"],
        ["~", "TaskDefinition/echo"],
        ["-", "TaskDefinition/gone"],
    ]
    assert "-    VERSION = 1" in lines
    assert "+    VERSION = 2" in lines
    assert "--- a/probe_tasks/echo.py" in lines
    after = await client.cluster.definitions()
    assert {key: live.resource_version for key, live in after.items()} == {
        key: live.resource_version for key, live in before.items()
    }
    assert await client.cluster.request("dry-run") is None


async def test_dry_run_as_json_and_without_a_change(place: Place, package: Package) -> None:
    fresh = await place.run("deploy", str(package(1)), "--dry-run", "-o", "json")
    assert fresh.code == 0
    change = fresh.document()["changes"][0]
    assert (change["definition"], change["action"], change["before"]) == ("TaskDefinition/echo", "create", None)
    assert fresh.document()["closure"] == ["TaskDefinition/echo"]
    await place.deployed(package(1))
    assert (await place.run("deploy", str(package(1)), "--dry-run")).code == 10


async def test_prune_deletes_what_the_package_no_longer_has_and_stays_one_request(
    place: Place, package: Package, client: TaskrollClient
) -> None:
    await place.deployed(package(1, tasks=("Echo", "Gone")))
    kept = await place.deployed(package(1))
    assert kept.status.outcome == "no_change", "without --prune nothing is deleted"
    command = ("deploy", str(package(1)), "--prune", "--request-id", "pruned")
    ran = await place.run(*command)
    assert ran.code == 0, ran.err
    assert list(await client.cluster.definitions()) == ["TaskDefinition/echo"]
    again = await place.run(*command)
    assert (again.code, "had ended before" in again.err) == (0, True), again.err


async def test_prune_deletes_nothing_that_may_be_in_a_linked_folder(
    place: Place, package: Package, tmp_path: Path
) -> None:
    """Links to folders are passed over, and Python would import what is in them."""
    folder = package(1)
    (folder / "more").mkdir()
    (folder / "more" / "shout.py").write_text("from probe_base import Unit\n\n\nclass Shout(Unit): ...\n")
    await place.deployed(folder)
    (folder / "more").rename(tmp_path / "elsewhere")
    (folder / "more").symlink_to(tmp_path / "elsewhere", target_is_directory=True)
    ran = await place.run("deploy", str(folder), "--prune", "--dry-run")
    assert ran.code == 2
    assert "TaskDefinition/shout would be deleted, and may be in probe_tasks.more" in ran.err
    without = await place.run("deploy", str(folder), "--dry-run")
    assert (without.code, "probe_tasks/more is passed over" in without.err) == (10, True), without.err


async def test_git_commit_and_changed_files_are_recorded(place: Place, package: Package) -> None:
    folder = package(1)

    def git(*arguments: str) -> str:
        command = ["git", "-C", str(folder), "-c", "user.name=T", "-c", "user.email=t@example.com", *arguments]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()

    git("init", "-q", "-b", "main", str(folder.parent))
    git("add", str(folder.parent))
    git("commit", "-q", "-m", "first")
    commit = git("rev-parse", "HEAD")
    await place.deployed(folder, "clean")
    await place.deployed(package(2), "changed")
    releases = (await place.run("history", "-o", "json")).document()["releases"]
    assert [(r["request_id"], r["git_commit"][:40], r["git_dirty"]) for r in releases] == [
        ("changed", commit, True),
        ("clean", commit, False),
    ]
    shown = await place.run("history")
    assert f"{commit[:12]}+ " in shown.out
    status = (await place.run("status", "changed")).out
    assert re.search(rf"^commit +{commit}\+$", status, re.MULTILINE)
    assert re.search(r"^differs +probe_tasks/echo\.py$", status, re.MULTILINE), status
    assert re.search(r"^changed +TaskDefinition/", status, re.MULTILINE)
    clean = (await place.run("status", "clean")).out
    assert re.search(rf"^commit +{commit}$", clean, re.MULTILINE)
    assert "differs" not in clean


async def test_time_out_has_a_code_of_its_own_and_leaves_the_update(
    place: Place, package: Package, client: TaskrollClient
) -> None:
    command = (
        "deploy",
        str(package(1)),
        "--request-id",
        "one",
        "--approval",
        "required",
        "--timeout",
        "1.5",
        "-o",
        "json",
    )
    ran = await place.run(*command)
    assert ran.code == 14, ran.err
    assert ran.document()["status"]["outcome"] is None
    assert "taskroll watch one" in ran.err
    assert (await client.status("one")).execution == "running"
    await client.abort("one", AbortInput(by="tester"))
    await client.wait("one")


async def test_an_update_that_is_taken_back(place: Place, package: Package) -> None:
    await place.deployed(package(1))
    await place.create_instance("Echo")
    ran = await place.run("deploy", str(package(2)), "--drain", "refuse")
    assert ran.code == 11, ran.err
    assert "rolled_back" in ran.out
    assert "instance-1" in ran.out


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--app", "app-1"], "app 'app-1': write ID=PATH"),
        (["--app", "app-1=absent.py"], "app 'app-1': absent.py cannot be read"),
        (["--app", "App 1={source}"], "'App 1={source}'"),
        (["--app", "app-1={empty}"], "at least 1 character"),
        (["--app", "app-1={source}", "--app", "app-1={source}"], "apps: given twice: app-1"),
    ],
)
async def test_options_about_apps_that_cannot_be(
    place: Place, package: Package, tmp_path: Path, options: list[str], said: str
) -> None:
    files = {"source": tmp_path / "app.py", "empty": tmp_path / "empty.py"}
    files["source"].write_text("import json\n")
    files["empty"].write_text("")
    given = [option.format(**files) for option in options]
    for command in (["deploy", str(package(1))], ["rollback", "--to", "1"]):
        ran = await place.run(*command, *given)
        assert (ran.code, ran.out) == (2, "")
        assert said.format(**files) in ran.err


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--drain-timeout", "0"], "error: --drain-timeout: Input should be greater than 0 (was 0.0)"),
        (["--verify-timeout", "1e9"], "error: --verify-timeout: Input should be less than or equal to 86400"),
        (["--grace", "5"], "error: --grace is for --drain shutdown, and drain is wait; leave it out"),
        (["--restore-apps", "--drain", "live"], "error: --restore-apps is for --drain shutdown, and drain is live"),
        (["--live-timeout", "5", "--drain", "shutdown"], "--live-timeout is for --drain live, and drain is shutdown"),
        (["--cancel-calls"], "--cancel-calls is for --drain live, and drain is wait"),
        (
            ["--drain", "shutdown", "--grace", "9", "--drain-timeout", "9"],
            "error: grace: 9 s leave nothing of the drain's 9 s; choose a shorter grace",
        ),
    ],
)
async def test_options_of_the_policy_that_cannot_be(
    idle_place: Place, package: Package, options: list[str], said: str
) -> None:
    for command in (["deploy", str(package(1))], ["rollback", "--to", "1"]):
        ran = await idle_place.run(*command, *options)
        assert (ran.code, ran.out) == (2, "")
        assert said in ran.err


async def test_shutdown_is_refused_where_the_worker_knows_no_gateway(
    place: Place, package: Package, client: TaskrollClient, tmp_path: Path
) -> None:
    source = tmp_path / "app.py"
    source.write_text("import json\n")
    ran = await place.run(
        "deploy", str(package(1)), "--drain", "shutdown", "--restore-apps", "--app", f"app-1={source}",
        "--request-id", "one",
    )  # fmt: skip
    assert ran.code == 12, ran.err
    assert "has no platform section; add it" in ran.out
    stored = await client.cluster.request("one")
    assert stored is not None
    assert (list(stored.apps), stored.policy.restore_apps) == (["app-1"], True)


async def test_rollback_to_the_release_before_and_to_a_named_one(place: Place, package: Package) -> None:
    for version in (1, 2, 3):
        await place.deployed(package(version))
    back = await place.run("rollback", "--reason", "no good", "--request-id", "back", "-o", "json")
    assert back.code == 0, back.err
    assert (await place.run("rollback", "--request-id", "back")).code == 0, "the same rollback again"
    assert (await place.run("rollback", "--to", "1")).code == 0
    unknown = await place.run("rollback", "--to", "99")
    assert unknown.code == 3
    assert "choose one of 5, 4, 3, 2, 1" in unknown.err
    releases = (await place.run("history", "-o", "json")).document()["releases"]
    assert [(r["epoch"], r["origin"], r["is_current"]) for r in releases] == [
        (5, "rollback", True),
        (4, "rollback", False),
        (3, "update", False),
        (2, "update", False),
        (1, "update", False),
    ]
    contents = {r["epoch"]: r["content_digest"] for r in releases}
    assert contents[4] == contents[2]
    assert contents[5] == contents[1]


async def test_rollback_before_anything_was_released(place: Place) -> None:
    ran = await place.run("rollback")
    assert ran.code == 3
    assert "nothing has been released yet" in ran.err


async def test_words_of_people_are_never_read_as_markup(place: Place, package: Package) -> None:
    ran = await place.run("deploy", str(package(1)), "--reason", "[red]x[/red] [/] **b**", "--request-id", "one")
    assert ran.code == 0, ran.err
    assert "[red]x[/red] [/] **b**" in ran.out
    assert "[red]x[/red] [/] **b**" in (await place.run("list")).out
    assert (
        json.loads((await place.run("status", "one", "-o", "json")).out)["status"]["reason"] == "[red]x[/red] [/] **b**"
    )
