"""The endpoint on the real stack, beside the command line: one client, one update."""

import asyncio
from collections.abc import AsyncGenerator, Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from starter.http.app import create_app
from starter.http.tokens import LoopbackOnly

from .place import Place

Package = Callable[..., Path]


@pytest.fixture
async def http(place: Place) -> AsyncGenerator[httpx.AsyncClient]:
    app = create_app(place.settings, LoopbackOnly())
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://127.0.0.1", timeout=60) as client,
    ):
        yield client


def body(folder: Path, **more: Any) -> dict[str, Any]:
    """The package of the tests as a body: what the deploy tool finds in it by itself."""
    definitions = [
        {
            "kind": "TaskDefinition",
            "class_name": file.stem.capitalize(),
            "module": f"probe_tasks.{file.stem}",
            "source": file.read_text(),
            "is_unit_task": True,
        }
        for file in sorted(folder.glob("*.py"))
        if file.name != "__init__.py"
    ]
    return {"definitions": definitions, **more}


def key(request_id: str) -> dict[str, str]:
    return {"Idempotency-Key": request_id}


async def ended(http: httpx.AsyncClient, location: str) -> dict[str, Any]:
    async with asyncio.timeout(60):
        while True:
            view = (await http.get(location)).raise_for_status().json()
            if view["status"]["outcome"]:
                return view
            await asyncio.sleep(0.05)


async def test_an_update_from_start_to_end(http: httpx.AsyncClient, package: Package) -> None:
    sent = body(package(1), reason="first", requested_by="pipeline")
    answer = await http.post("/task-updates", json=sent, headers=key("one"))
    assert (answer.status_code, answer.headers["location"]) == (202, "/task-updates/one")
    assert answer.json()["is_new"] is True
    view = await ended(http, answer.headers["location"])
    assert (view["status"]["outcome"], view["status"]["epoch"], view["status"]["requested_by"]) == (
        "completed",
        1,
        "pipeline",
    )
    assert [step["name"] for step in view["status"]["steps"]][:3] == ["plan", "fence", "check"]
    # Visibly a replay: the record seals a moment after the workflow says so.
    async with asyncio.timeout(30):
        while (again := await http.post("/task-updates", json=sent, headers=key('"one"'))).status_code != 200:
            assert again.status_code == 202
    assert (again.json()["is_new"], again.json()["outcome"]) == (False, "completed")
    releases = (await http.get("/releases")).json()["releases"]
    assert [(line["epoch"], line["outcome"], line["is_current"]) for line in releases] == [(1, "completed", True)]


async def test_command_line_and_endpoint_with_one_id_are_one_update(
    place: Place, http: httpx.AsyncClient, package: Package
) -> None:
    folder = package(1)
    ran, answer = await asyncio.gather(
        place.run("deploy", str(folder), "--request-id", "one", "-o", "json"),
        http.post("/task-updates", json=body(folder), headers=key("one")),
    )
    assert ran.code == 0, ran.err
    assert answer.status_code in (200, 202)
    assert ran.document()["status"]["request_digest"] == answer.json()["digest"]
    listed = (await http.get("/task-updates")).json()["updates"]
    assert [line["request_id"] for line in listed] == ["one"]
    assert len((await http.get("/releases")).json()["releases"]) == 1
    other = await http.post("/task-updates", json=body(package(2)), headers=key("one"))
    assert other.status_code == 409
    assert other.json()["known"] == answer.json()["digest"]
    assert other.json()["sent"] != answer.json()["digest"]
    refused = await place.run("deploy", str(folder), "--request-id", "one")
    assert refused.code == 5
    assert refused.err.count("sha256:") == 2


@pytest.mark.parametrize(
    ("said", "header", "expected"),
    [("body", "header", "body"), (None, "header", "header"), (None, None, "http")],
)
async def test_who_asks(
    http: httpx.AsyncClient, package: Package, said: str | None, header: str | None, expected: str
) -> None:
    headers = {**key("one"), **({"X-Requested-By": header} if header else {})}
    sent = body(package(1), **({"requested_by": said} if said else {}))
    view = await ended(http, (await http.post("/task-updates", json=sent, headers=headers)).headers["location"])
    assert view["status"]["requested_by"] == expected


async def test_decisions(http: httpx.AsyncClient, package: Package) -> None:
    sent = body(package(1), policy={"approval": "required"})
    for request_id, decision, outcome in (
        ("no", "reject", "rejected"),
        ("stop", "abort", "rolled_back"),
        ("yes", "approve", "completed"),
    ):
        location = (await http.post("/task-updates", json=sent, headers=key(request_id))).headers["location"]
        async with asyncio.timeout(60):
            while (await http.get(location)).json()["status"]["phase"] != "awaiting-approval":
                await asyncio.sleep(0.05)
        assert (await http.post(f"{location}/resume", json={})).status_code == 409
        assert (await http.post(f"{location}/release-fence", json={"reason": "haste"})).status_code == 409
        assert (await http.post(f"{location}/release-fence", json={})).status_code == 422
        said = {"by": "jane", "reason": "so be it"}
        answer = await http.post(f"{location}/{decision}", json=said)
        assert answer.status_code == (202 if decision == "abort" else 200), answer.text
        view = await ended(http, location)
        assert view["status"]["outcome"] == outcome
        assert "jane" in view["status"]["message"] or view["status"]["decisions"][0]["by"] == "jane"
        for late in ("approve", "reject", "abort", "resume"):
            problem = await http.post(f"{location}/{late}")
            assert (problem.status_code, problem.json()["code"]) == (409, "WrongPhase"), late


async def test_rollback(http: httpx.AsyncClient, package: Package) -> None:
    nothing = await http.post("/rollbacks", json={}, headers=key("early"))
    assert (nothing.status_code, nothing.json()["code"]) == (422, "UnknownRelease")
    for version in (1, 2):
        sent = await http.post("/task-updates", json=body(package(version)), headers=key(f"v{version}"))
        await ended(http, sent.headers["location"])
    unknown = await http.post("/rollbacks", json={"to": 9}, headers=key("early"))
    assert "choose one of 2, 1" in unknown.json()["detail"]
    back = await http.post("/rollbacks", json={"reason": "no good"}, headers=key("back"))
    assert (back.status_code, back.headers["location"]) == (202, "/task-updates/back")
    assert (await ended(http, "/task-updates/back"))["status"]["epoch"] == 3
    first, _, last = reversed((await http.get("/releases")).json()["releases"])
    assert (last["origin"], last["content_digest"]) == ("rollback", first["content_digest"])


async def test_pages(http: httpx.AsyncClient, package: Package) -> None:
    for number in range(3):
        sent = await http.post("/task-updates", json=body(package(1)), headers=key(f"u{number}"))
        await ended(http, sent.headers["location"])
    first = (await http.get("/task-updates", params={"limit": 2})).json()
    rest = (await http.get("/task-updates", params={"limit": 2, "cursor": first["next_cursor"]})).json()
    assert [line["request_id"] for line in first["updates"] + rest["updates"]] == ["u2", "u1", "u0"]
    assert rest["next_cursor"] is None
    wrong = await http.get("/task-updates", params={"cursor": "nonsense"})
    assert (wrong.status_code, wrong.json()["code"]) == (422, "InvalidRequest")


async def test_a_source_that_cannot_be_ends_as_rejected(http: httpx.AsyncClient, package: Package) -> None:
    sent = body(package(1))
    sent["definitions"][0]["source"] = "class Echo(:\n"
    location = (await http.post("/task-updates", json=sent, headers=key("bad"))).headers["location"]
    view = await ended(http, location)
    assert view["status"]["outcome"] == "rejected"
    assert "probe_tasks.echo:1" in view["status"]["message"]
