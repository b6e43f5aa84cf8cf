"""Adoption, examination and pruning over HTTP, beside the command line."""

from collections.abc import AsyncGenerator, Callable
from dataclasses import replace
from pathlib import Path

import httpx
import pytest

from starter.client import TaskrollClient
from starter.http.app import create_app
from starter.http.tokens import LoopbackOnly

from .place import Place
from .test_cli_prune import stored
from .test_http_updates import ended, key

Package = Callable[..., Path]


@pytest.fixture
async def http(place: Place) -> AsyncGenerator[httpx.AsyncClient]:
    app = create_app(place.settings, LoopbackOnly())
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://127.0.0.1", timeout=60) as opened,
    ):
        yield opened


async def test_what_is_live_becomes_the_first_release(place: Place, package: Package, http: httpx.AsyncClient) -> None:
    nothing = await http.post("/adoptions", json={}, headers=key("one"))
    assert (nothing.status_code, nothing.json()["code"]) == (422, "InvalidRequest")
    assert "there is nothing to adopt" in nothing.json()["errors"][0]["message"]
    await place.put_by_hand(package(1))
    sent = await http.post("/adoptions", json={"reason": "took over"}, headers=key("one"))
    assert (sent.status_code, sent.headers["location"]) == (202, "/task-updates/one")
    view = await ended(http, sent.headers["location"])
    assert (view["status"]["outcome"], view["status"]["epoch"]) == ("completed", 1)
    [release] = (await http.get("/releases")).json()["releases"]
    assert (release["origin"], release["reason"]) == ("adoption", "took over")


async def test_an_examination_says_what_the_command_says(
    place: Place, package: Package, http: httpx.AsyncClient
) -> None:
    await place.deployed(package(1))
    assert (await http.get("/doctor")).json()["is_healthy"] is True
    await place.edit_by_hand("echo", "class Echo: ...\n")
    answer = await http.get("/doctor")
    assert answer.status_code == 200
    by_command = (await place.run("doctor", "-o", "json", "-n", place.settings.namespace)).document()
    assert answer.json()["is_healthy"] is False
    assert [(f["check"], f["state"], f["message"]) for f in answer.json()["findings"]] == [
        (f["check"], f["state"], f["message"]) for f in by_command["findings"]
    ]
    [edited] = [f for f in answer.json()["findings"] if f["check"] == "definitions" and f["state"] == "problem"]
    assert any(f"-n {place.settings.namespace}" in remedy["command"] for remedy in edited["remedies"])


async def test_sources_of_older_releases_go(
    place: Place, package: Package, http: httpx.AsyncClient, client: TaskrollClient
) -> None:
    for version in (1, 2, 3):
        await place.deployed(package(version))
    before = await stored(client, "definition")
    body = {"keep": 2, "older_than": 0}
    shown = await http.post("/prune", json={**body, "dry_run": True})
    assert (shown.status_code, await stored(client, "definition")) == (200, before)
    pruned = await http.post("/prune", json=body)
    assert pruned.json() == shown.json()
    assert pruned.json()["kept_releases"] == [3, 2]
    assert before - await stored(client, "definition") == set(pruned.json()["names"]) & before != set()
    assert (await http.post("/prune", json={"keep": 0})).json()["errors"][0]["field"] == "body.keep"


async def test_pruning_is_refused_to_an_account_without_the_right(place: Place, package: Package) -> None:
    for version in (1, 2, 3):
        await place.deployed(package(version))
    app = create_app(replace(place.settings, context="taskroll"), LoopbackOnly())
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://127.0.0.1", timeout=60) as worker,
    ):
        body = {"keep": 1, "older_than": 0}
        assert (await worker.post("/prune", json={**body, "dry_run": True})).json()["names"]
        refused = await worker.post("/prune", json=body)
    assert (refused.status_code, refused.json()["code"]) == (502, "RefusedByCluster")
