"""What an approver sees of an update before he decides, by the command line and over HTTP."""

from collections.abc import AsyncGenerator, Callable
from pathlib import Path

import httpx
import pytest

from starter.client import TaskrollClient
from starter.http.app import create_app
from starter.http.tokens import LoopbackOnly
from taskroll.models.decision import AbortInput

from .place import Place
from .test_cli_decisions import waiting
from .test_cli_output import COLOUR, on_terminal
from .test_submission import request

Package = Callable[..., Path]


@pytest.fixture
async def http(place: Place) -> AsyncGenerator[httpx.AsyncClient]:
    app = create_app(place.settings, LoopbackOnly())
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://127.0.0.1", timeout=60) as opened,
    ):
        yield opened


async def pruning(place: Place, folder: Path, client: TaskrollClient) -> str:
    """Start an update that deletes too, and waits for an approval; return its plan's digest."""
    await place.run("deploy", str(folder), "--prune", "--request-id", "one", "--approval", "required", "--no-wait")
    async for view in client.watch("one"):
        if view.status.phase == "awaiting-approval" and view.status.plan:
            return view.status.plan.digest
    raise AssertionError("never waited")


async def test_created_changed_and_deleted_before_the_approval_and_after_the_end(
    place: Place, package: Package, client: TaskrollClient, http: httpx.AsyncClient
) -> None:
    await place.deployed(package(1, tasks=("Echo", "Gone")))
    digest = await pruning(place, package(2, tasks=("Echo", "Added")), client)
    shown = await place.run("diff", "one")
    assert shown.code == 0, shown.err
    lines = shown.out.splitlines()
    assert lines[0] == f"update one, plan 1 {digest}, from release 1"
    assert [line.split()[:2] for line in lines if line[1:].strip().startswith("TaskDefinition/")] == [
        ["+", "TaskDefinition/added"],
        ["~", "TaskDefinition/echo"],
        ["-", "TaskDefinition/gone"],
    ]
    assert "1 to create, 1 to change, 1 to delete" in lines
    changed = lines[lines.index("--- a/probe_tasks/echo.py") :]
    assert changed[1] == "+++ b/probe_tasks/echo.py"
    assert {"-    VERSION = 1", "+    VERSION = 2", " class Echo(Unit):"} <= set(changed)
    created, deleted = lines.index("+++ b/probe_tasks/added.py"), lines.index("--- a/probe_tasks/gone.py")
    assert (lines[created - 1], lines[deleted + 1]) == ("--- /dev/null", "+++ /dev/null")
    assert {"+class Added(Unit):", "-class Gone(Unit):"} <= set(lines)

    document = (await place.run("diff", "one", "-o", "json")).document()
    answer = await http.get("/task-updates/one/diff")
    assert (answer.status_code, answer.json()) == (200, document)
    assert (document["plan_digest"], document["base_epoch"]) == (digest, 1)
    assert [change["action"] for change in document["changes"]] == ["create", "change", "delete"]

    assert (await place.run("approve", "one", "--plan", digest)).code == 0
    await client.wait("one")
    assert (await place.run("diff", "one")).out == shown.out


async def test_what_uses_the_definitions_is_named(place: Place, package: Package, client: TaskrollClient) -> None:
    await place.deployed(package(1, tasks=("Echo", "Gone")))
    await place.create_instance("Echo", "echo-of-app-7")
    await pruning(place, package(2, tasks=("Echo",)), client)
    lines = (await place.run("diff", "one")).out.splitlines()
    assert "no new instance meanwhile of: Echo, Gone" in lines
    assert "in use, when the plan was made, by: instance Echo echo-of-app-7" in lines
    assert (await place.run("diff", "one", "-o", "json")).document()["instances"] == ["Echo echo-of-app-7"]
    await client.abort("one", AbortInput(by="otto"))
    await client.wait("one")


async def test_a_definition_that_was_made_by_hand_is_compared_with_what_is_live(
    place: Place, package: Package, client: TaskrollClient
) -> None:
    await place.put_by_hand(package(1))
    await waiting(place, package(2), client)
    shown = await place.run("diff", "one")
    assert "from no release" in shown.out
    assert "-    VERSION = 1" in shown.out.splitlines()
    await client.abort("one", AbortInput(by="tester"))
    await client.wait("one")
    await place.edit_by_hand("echo", "class Echo: ...\n")
    gone = await place.run("diff", "one")
    assert (gone.code, gone.out) == (3, "")
    assert "not stored" in gone.err


async def test_a_source_cannot_hide_from_a_terminal(place: Place, package: Package, client: TaskrollClient) -> None:
    folder = package(1)
    (folder / "echo.py").write_text("from probe_base import Unit\n\n\nclass Echo(Unit): ...  # \x1b[2K\x1b[1A\u202e\n")
    spelled_out = "+class Echo(Unit): ...  # \\x1b[2K\\x1b[1A\\u202e"
    assert spelled_out in (await place.run("deploy", str(folder), "--dry-run")).out.splitlines()
    await waiting(place, folder, client)
    piped = await place.run("diff", "one")
    assert spelled_out in piped.out.splitlines()
    assert COLOUR.search(piped.out) is None
    code, text = await on_terminal(place, "diff", "one")
    assert code == 0
    assert COLOUR.search(text)
    assert "\x1b[2K" not in text
    assert "\u202e" not in text


async def test_where_there_is_nothing_to_show(
    place: Place, idle_place: Place, idle_client: TaskrollClient, package: Package, http: httpx.AsyncClient
) -> None:
    for request_id in ("nobody-knows", "../../secrets"):
        unknown = await place.run("diff", request_id)
        assert (unknown.code, unknown.out) == (3, "")
        assert "there is no update" in unknown.err
    assert (await http.get("/task-updates/nobody-knows/diff")).json()["code"] == "UnknownUpdate"
    await idle_client.submit(request(idle_client, "early"))
    early = await idle_place.run("diff", "early")
    assert early.code == 5
    assert "has no plan: it is still to make it" in early.err
    await place.deployed(package(1), "first")
    await place.deployed(package(1), "again")
    assert "no custom resource differs" in (await place.run("diff", "again")).out


async def test_long_diffs_are_cut_unless_all_is_asked_for(
    place: Place, package: Package, client: TaskrollClient, http: httpx.AsyncClient
) -> None:
    folder = package(1)
    (folder / "echo.py").write_text("from probe_base import Unit\nclass Echo(Unit): ...\n" + "x = 1\n" * 3_000)
    await waiting(place, folder, client)
    cut, full = await place.run("diff", "one"), await place.run("diff", "one", "--full")
    assert "… and 1005 more lines of probe_tasks.echo: --full shows them" in cut.out
    assert (cut.out.count("+x = 1"), full.out.count("+x = 1")) == (1_995, 3_000)
    assert (await http.get("/task-updates/one/diff")).json()["changes"][0]["lines_left_out"] == 1_005
    assert (await http.get("/task-updates/one/diff?full=true")).json()["changes"][0]["lines_left_out"] == 0
