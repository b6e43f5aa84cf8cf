"""What of a former version is alive in Cornserve's services after a flip, and who holds it."""

from __future__ import annotations

import asyncio

import pytest

from interop.direct import DirectUpdate
from interop.fleet import Fleet
from interop.library import duet_app, library
from taskroll_agent.contracts import OldGeneration
from tests.saga.world import World

from .test_adapter import versions_in

SCRIBE = "cornserve_tasklib.task.unit.scribe.ScribeTask"


@pytest.fixture
async def app(cornserve_world: World, adapted: Fleet) -> str:
    """Version 1 runs, with a live app that was called."""
    await cornserve_world.update(library(1))
    app = await adapted.gateway.register(duet_app())
    assert versions_in(await adapted.gateway.invoke(app, text="before")) == {1}
    return app


async def nothing_is_left(fleet: Fleet, direct: DirectUpdate) -> None:
    for service in fleet.stock:
        found = await direct.census(service.name)
        assert (found.generations, found.platform, found.complete) == ([], [], True), service.name


def holders_of(name: str, generation: OldGeneration) -> set[str]:
    """Who holds instances of that class."""
    found = [one for one in generation.objects if (one.kind, one.name) == ("instance", name)]
    return {holder.name for one in found for holder in one.held_by}


async def test_nothing_is_left_where_nobody_holds_anything(adapted: Fleet, direct: DirectUpdate, app: str) -> None:
    for version in (2, 1):
        await direct.update(library(version))
        assert versions_in(await adapted.gateway.invoke(app, text="after")) == {version}
        await nothing_is_left(adapted, direct)


async def test_a_call_in_flight_is_named_with_what_it_holds(adapted: Fleet, direct: DirectUpdate, app: str) -> None:
    await adapted.executor.hold()
    call = asyncio.create_task(adapted.gateway.invoke(app, text="in flight"))
    async with asyncio.timeout(10):
        while await adapted.executor.waiting() < 2:
            await asyncio.sleep(0.02)

    # Without the hold that an update has, which would wait for the call.
    await direct.prepare(library(2), "no-hold")
    committed = await direct.commit(library(2), "no-hold")
    async with asyncio.timeout(10):
        while {said.epoch for said in (await direct.attestations()).values()} != {committed.epoch}:
            await asyncio.sleep(0.02)

    (former,) = (await direct.census("gateway")).generations
    assert former.leases == 1
    assert holders_of(SCRIBE, former) == {
        "coroutine cornserve.services.gateway.task_manager.TaskManager.invoke_tasks",
        "instance of cornserve.task.base.TaskInvocation",
        "instance of cornserve_tasklib.task.composite.duet.DuetTask",
        "instance of cornserve.services.gateway.app.models.AppDefinition",
    }

    await adapted.executor.release()
    assert (await call)["version"] == 1
    await nothing_is_left(adapted, direct)


KEEP = """
from cornserve.services.gateway import router
(manager,) = living("TaskManager")
router.kept = {"tasks": list(manager.tasks.values())}
"""


async def test_a_module_that_keeps_a_task_is_named(adapted: Fleet, direct: DirectUpdate, app: str) -> None:
    await adapted["gateway"].run(KEEP)
    await direct.update(library(2))

    found = await direct.census("gateway")
    (former,) = found.generations
    assert former.leases == 0
    assert holders_of(SCRIBE, former) == {"module cornserve.services.gateway.router"}
    assert found.platform == []

    await adapted["gateway"].run("from cornserve.services.gateway import router; del router.kept")
    await nothing_is_left(adapted, direct)
