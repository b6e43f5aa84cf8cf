"""Cornserve's services in a whole update: live apps, and refusals."""

from __future__ import annotations

import pytest

from interop.direct import DirectUpdate
from interop.fleet import Fleet
from interop.library import duet_app, library
from tests.saga.world import QUICK, World

from .test_adapter import PEN, changed, run_version, versions_in

LIVE = QUICK.model_copy(update={"drain": "live"})


async def test_live_apps_go_to_version_2_and_back(cornserve_world: World, adapted: Fleet, direct: DirectUpdate) -> None:
    await cornserve_world.update(library(1))
    app = await adapted.gateway.register(duet_app())

    for version in (2, 1):
        view = await cornserve_world.update(library(version), policy=LIVE)
        assert view.status.outcome == "completed", view.status
        await run_version(adapted, direct, version)
        assert versions_in(await adapted.gateway.invoke(app, text="on")) == {version}
        shown = {one.pod: one.flip_ms for one in (await cornserve_world.client.versions()).replicas}
        assert shown == {said.pod: said.flip_ms for said in (await direct.attestations()).values()}

    await adapted.gateway.unregister(app)
    assert await adapted.administrator.instances() == []


async def test_an_app_holds_up_an_update_that_waits(
    cornserve_world: World, adapted: Fleet, direct: DirectUpdate
) -> None:
    await cornserve_world.update(library(1))
    app = await adapted.gateway.register(duet_app())

    request = await cornserve_world.submit(library(2))
    await cornserve_world.waiting(request, "scribetask")
    assert versions_in(await adapted.gateway.invoke(app, text="meanwhile")) == {1}
    await adapted.gateway.unregister(app)

    assert (await cornserve_world.ended(request)).status.outcome == "completed"
    await run_version(adapted, direct, 2)


@pytest.mark.parametrize(
    ("name", "old", "new", "said"),
    [
        (
            "DuetTask",
            "import ScribeInput, ScribeTask",
            "import ScribeInput, ScribeTask, Absent",
            "cannot import Absent",
        ),
        ("ScribeTask", 'tone: str = "plain"', "tone: str", "tone: Field required"),
        ("DuetTask", "def post_init(self) -> None:", f"def post_init(self) -> None:\n        {PEN}", "not deployed"),
    ],
    ids=["a composite does not import", "a live task is invalid", "an app would need another task"],
)
async def test_an_update_that_cannot_be_carried_over_changes_nothing(
    cornserve_world: World, adapted: Fleet, direct: DirectUpdate, name: str, old: str, new: str, said: str
) -> None:
    await cornserve_world.update(library(1))
    app = await adapted.gateway.register(duet_app())
    before = await cornserve_world.definitions()

    view = await cornserve_world.update(changed(name, old, new), policy=LIVE)

    assert view.status.outcome == "rolled_back"
    assert said in f"{view.status}"
    assert await cornserve_world.definitions() == before
    await run_version(adapted, direct, 1)
    assert versions_in(await adapted.gateway.invoke(app, text="as before")) == {1}
