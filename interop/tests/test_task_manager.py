"""A task manager goes along with the other services: its task, its descriptor, and what it does with them."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from typing import Any

import pytest
from kubernetes.aio.client import CoreV1Api

from interop.adapted import agent_environment, services_of_cornserve
from interop.direct import DirectUpdate
from interop.environment import LOGS
from interop.fleet import TASK_MANAGER
from interop.library import duet_app, library
from interop.task_manager_fleet import TaskManagerFleet
from taskroll.devstack import StackInfo
from tests.saga.replicas import TOKEN
from tests.saga.world import QUICK, TOKEN_VARIABLE, World, create_world

from .test_adapter import changed, run_version, versions_in

LIVE = QUICK.model_copy(update={"drain": "live"})


@pytest.fixture
async def world(installed_stack: StackInfo, monkeypatch: pytest.MonkeyPatch) -> AsyncGenerator[World]:
    """Version 1 runs, and task managers are services of the update."""
    monkeypatch.setenv(TOKEN_VARIABLE, TOKEN)
    services = services_of_cornserve(task_managers=True)
    async with create_world(installed_stack, TOKEN_VARIABLE, services=services) as made:
        await made.start_worker()
        yield made


@pytest.fixture
async def fleet(world: World) -> AsyncGenerator[TaskManagerFleet]:
    folder = LOGS / world.namespace
    environment = agent_environment(world)
    async with TaskManagerFleet(world.stack, world.namespace, folder, environment=environment) as started:
        yield started


@pytest.fixture
async def direct(world: World, fleet: TaskManagerFleet) -> AsyncGenerator[DirectUpdate]:
    update = DirectUpdate.of(world, fleet)
    yield update
    await update.client.aclose()


MANAGED = """
(manager,) = living("TaskManager")
return [manager.task.version, manager.descriptor.version, manager.descriptor.task is manager.task]
"""


async def managed(fleet: TaskManagerFleet) -> list[Any]:
    """Of the task manager: the versions of task and descriptor, and whether they belong together."""
    return await fleet[TASK_MANAGER].run(MANAGED)


async def test_it_goes_to_version_2_and_back(world: World, fleet: TaskManagerFleet, direct: DirectUpdate) -> None:
    await world.update(library(1))
    app = await fleet.gateway.register(duet_app())
    assert await managed(fleet) == [1, 1, True]
    process = fleet[TASK_MANAGER].pid

    for version in (2, 1):
        view = await world.update(library(version), policy=LIVE)
        assert view.status.outcome == "completed", view.status
        tasks = await run_version(fleet, direct, version)
        assert tasks[TASK_MANAGER] == 1
        assert await managed(fleet) == [version, version, True]
        assert versions_in(await fleet.gateway.invoke(app, text="on")) == {version}
    assert fleet[TASK_MANAGER].pid == process

    assert "Routing request" in fleet[TASK_MANAGER].log_text()
    await fleet.gateway.unregister(app)
    assert await fleet.administrator.instances() == []
    assert await executors(world) == {}


async def executors(world: World) -> dict[str, str]:
    """Pod of each executor → its image."""
    found = await CoreV1Api(world.api).list_namespaced_pod(world.namespace, label_selector="app=task-executor")
    return {pod.metadata.name: pod.spec.containers[0].image for pod in found.items}


async def test_executors_that_it_starts_after_an_update_are_those_of_the_new_descriptor(
    world: World, fleet: TaskManagerFleet, direct: DirectUpdate
) -> None:
    await world.update(library(1))
    await fleet.gateway.register(duet_app())
    ((_, task_id, _),) = await fleet.gateway.tasks()

    descriptor = changed("ScribeDescriptor", 'return "example/scribe"', 'return "example/scribe:2"')
    view = await world.update(descriptor, policy=LIVE)
    assert view.status.outcome == "completed", view.status
    await fleet.gateway.scale(task_id, 1)

    assert await executors(world) == {"te-scribe-quill-0": "example/scribe", "te-scribe-quill-1": "example/scribe:2"}


async def test_one_that_dies_in_an_update_comes_up_on_the_epoch_of_its_peers(
    world: World, fleet: TaskManagerFleet, direct: DirectUpdate
) -> None:
    await world.update(library(1))
    await fleet.gateway.register(duet_app())
    for step in ("commit", "invalidate"):
        held = world.faults.hold(step)
        version = 2 if (await fleet.loaded("gateway")).versions["ScribeTask"] == 1 else 1
        request = await world.submit(library(version), policy=LIVE)
        await held.reached.wait()
        await fleet.restart(TASK_MANAGER)
        await direct.until_ready(TASK_MANAGER)
        assert len({(one.epoch, one.content_digest) for one in (await direct.attestations()).values()}) == 1
        held.release()

        assert (await world.ended(request)).status.outcome == "completed"
        await run_version(fleet, direct, version)


LOOK_UP = """
(registry,), (agent,) = living("TaskRegistry"), living("Agent")
agent._follower.ready = ready = asyncio.Event()
asked = asyncio.create_task(registry.get_task_instance({instance!r}))
early, _ = await asyncio.wait({{asked}}, timeout=0.5)
ready.set()
return [len(early), type(await asked).__name__]
"""


async def test_it_takes_its_task_once_it_runs_a_release(
    world: World, fleet: TaskManagerFleet, direct: DirectUpdate
) -> None:
    await world.update(library(1))
    await fleet.gateway.register(duet_app())
    (instance,) = await fleet.administrator.instances()
    assert await fleet[TASK_MANAGER].run(LOOK_UP.format(instance=instance)) == [0, "ScribeTask"]
