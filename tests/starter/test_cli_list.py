"""`list`: where each update is, and what became of one that nothing drives."""

from collections.abc import Callable
from pathlib import Path

from starter.client import TaskrollClient
from taskroll.models.decision import AbortInput

from .place import Place
from .test_cli_decisions import terminate, waiting

Package = Callable[..., Path]


async def state(place: Place, request_id: str) -> str:
    ran = await place.run("list")
    assert ran.code == 0, ran.err
    headings, *rows = ran.out.splitlines()
    at, end = headings.index("STATE"), headings.index("RELEASE")
    return next(row[at:end].strip() for row in rows if row.split()[0] == request_id)


async def test_the_state_is_that_of_this_moment(place: Place, package: Package, client: TaskrollClient) -> None:
    await place.deployed(package(1), "first")
    await place.create_instance("Echo")
    await waiting(place, package(2), client)
    assert await state(place, "one") == "awaiting-approval"
    await place.run("approve", "one")
    async for view in client.watch("one"):
        if any("instance-1" in whom for whom in view.status.waiting_for):
            break
    assert await state(place, "one") == "draining (check)"
    away = await place.run("list", TEMPORAL_ADDRESS="127.0.0.1:1", TEMPORAL_PROFILE=None)
    assert "by the records alone" in away.err
    assert "one" in away.out
    await client.abort("one", AbortInput(by="tester"))
    await client.wait("one")
    assert await state(place, "one") == "rolled_back"
    assert await state(place, "first") == "completed"


async def test_an_update_whose_workflow_was_terminated(place: Place, package: Package, client: TaskrollClient) -> None:
    await waiting(place, package(1), client)
    await terminate(client, "one")
    assert await state(place, "one") == "terminated"
    listed = await place.run("list")
    assert "one: its workflow is terminated" in listed.err
    assert "taskroll reconcile" in listed.err
    shown = await place.run("status", "one")
    assert "awaiting-approval, but its workflow is terminated" in shown.out
    assert "taskroll approve" not in shown.out
    assert "taskroll reconcile" in shown.err
    for command in ("abort", "approve"):
        ran = await place.run(command, "one")
        assert ran.code == 5
        assert "is terminated" in ran.err
        assert "taskroll resume one" in ran.err
    await place.run("reconcile")
    await client.wait("one")
    assert await state(place, "one") == "rolled_back"
    assert (await place.run("list")).err == ""


async def test_the_document_tells_the_workflow_from_the_phase(
    place: Place, package: Package, client: TaskrollClient
) -> None:
    await waiting(place, package(1), client)
    [line] = (await place.run("list", "-o", "json")).document()["updates"]
    assert (line["phase"], line["execution"], line["outcome"]) == ("awaiting-approval", "running", None)
    await terminate(client, "one")
    [line] = (await place.run("list", "-o", "json")).document()["updates"]
    assert (line["phase"], line["execution"], line["outcome"]) == ("awaiting-approval", "terminated", None)
