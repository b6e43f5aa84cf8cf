"""Drain and controlled shutdown with Cornserve's own gateway and resource manager.

The services run without the agent: what they load is not the matter here, only what uses the definitions.
`tests/saga/test_drain_faults.py` has what these do not do on demand.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from dataclasses import dataclass
from datetime import UTC, datetime

import pytest
import yaml
from kubernetes.aio.client import CoreV1Api

from interop.fleet import GATEWAY, RESOURCE_MANAGER, Fleet
from interop.gateway import GatewayRefused
from interop.library import CLASSES, duet_app, library
from taskroll.cluster.fence import lower_fence, raise_fence
from taskroll.cluster.fence_enforcement import await_enforcement
from taskroll.cluster.fence_state import FenceEntry
from taskroll.devstack import StackInfo
from taskroll.models.apps import AppSource
from taskroll.services.configuration_file import parse_services
from tests.saga.replicas import TOKEN
from tests.saga.world import QUICK, TOKEN_VARIABLE, World, create_world

from .conftest import LOGS

REFUSE = QUICK.model_copy(update={"drain": "refuse"})
SHUTDOWN = QUICK.model_copy(update={"drain": "shutdown", "grace": 0.0})
RESTORE = SHUTDOWN.model_copy(update={"restore_apps": True})


@dataclass
class Place:
    """A world of the saga, and stock services in its namespace that run version 1."""

    world: World
    fleet: Fleet

    async def pods(self) -> list[str]:
        """Names of the task managers' pods."""
        found = await CoreV1Api(self.world.api).list_namespaced_pod(
            self.world.namespace, label_selector="app=task-manager"
        )
        return [pod.metadata.name for pod in found.items]

    async def delete_pods(self) -> None:
        for pod in await self.pods():
            await CoreV1Api(self.world.api).delete_namespaced_pod(pod, self.world.namespace, grace_period_seconds=0)


@pytest.fixture
async def place(installed_stack: StackInfo, monkeypatch: pytest.MonkeyPatch) -> AsyncGenerator[Place]:
    monkeypatch.setenv(TOKEN_VARIABLE, TOKEN)
    async with (
        create_world(installed_stack, TOKEN_VARIABLE) as world,
        Fleet(installed_stack, world.namespace, LOGS / world.namespace) as fleet,
    ):
        nobody = {
            "name": "nobody",
            "discovery": {"type": "pods", "labels": {"app": "nobody"}},
            "port": 8000,
            "token": {"env": TOKEN_VARIABLE},
            "min_replicas": 0,
        }
        platform = {"kind": "cornserve", "gateway": {"url": fleet.gateway_url}}
        text = yaml.safe_dump({"services": [nobody], "platform": platform})
        await world.with_services(parse_services(text, "services of the tests"))
        await world.start_worker()
        await fleet.gateway.deploy(library(1))
        await fleet.until_loaded(CLASSES, 1)
        yield Place(world, fleet)


def of_duet(app: str) -> list[AppSource]:
    return [AppSource(id=app, source=duet_app())]


@pytest.mark.parametrize("is_known", [True, False])
async def test_refuse_names_the_app_and_what_it_has_deployed(place: Place, is_known: bool) -> None:
    app = await place.fleet.gateway.register(duet_app())
    [instance], [pod] = await place.fleet.administrator.instances(), await place.pods()

    view = await place.world.update(library(2), policy=REFUSE, apps=of_duet(app) if is_known else [])

    assert view.status.outcome == "rolled_back"
    for name in (f"app {app}", f"instance ScribeTask {instance}", f"pod {pod}"):
        assert name in view.status.message
    assert ("its source is not known" in view.status.message) is not is_known
    assert await place.fleet.gateway.apps() == {app: "ready"}


async def test_wait_sees_the_app_go(place: Place) -> None:
    app = await place.fleet.gateway.register(duet_app())
    request_id = await place.world.submit(library(2))
    await place.world.waiting(request_id, f"app {app}")
    await place.fleet.gateway.unregister(app)
    assert (await place.world.ended(request_id)).status.outcome == "completed"


async def test_declared_use_of_a_task_is_waited_for_too(place: Place) -> None:
    await place.fleet.gateway.use("ScribeTask")
    request_id = await place.world.submit(library(2), policy=SHUTDOWN)
    await place.world.waiting(request_id, "instance ScribeTask")
    await place.fleet.gateway.stop_using("ScribeTask")
    view = await place.world.ended(request_id)
    assert (view.status.outcome, view.status.apps) == ("completed", [])


async def test_shutdown_unregisters_the_app_and_sees_its_resources_released(place: Place) -> None:
    app = await place.fleet.gateway.register(duet_app())
    view = await place.world.update(library(2), policy=SHUTDOWN)
    assert view.status.outcome == "completed"
    assert [stopped.app_id for stopped in view.status.apps] == [app]
    assert await place.fleet.gateway.apps() == {}
    assert await place.fleet.gateway.tasks() == []
    assert (await place.fleet.administrator.instances(), await place.pods()) == ([], [])


async def test_app_that_was_shut_down_is_registered_again_after_the_update(place: Place) -> None:
    app = await place.fleet.gateway.register(duet_app())
    view = await place.world.update(library(2), policy=RESTORE, apps=of_duet(app))
    assert view.status.outcome == "completed"
    [stopped] = view.status.apps
    assert stopped.restored_as is not None
    assert await place.fleet.gateway.apps() == {stopped.restored_as: "ready"}
    assert (await place.fleet.gateway.invoke(stopped.restored_as, text="hello"))["version"] == 1


async def test_app_comes_back_after_a_rollback(place: Place) -> None:
    app = await place.fleet.gateway.register(duet_app())
    before = await place.world.definitions()
    place.world.faults.fail("verify")
    view = await place.world.update(library(2), policy=RESTORE, apps=of_duet(app))
    assert view.status.outcome == "rolled_back"
    assert await place.world.definitions() == before
    [stopped] = view.status.apps
    assert await place.fleet.gateway.apps() == {stopped.restored_as: "ready"}


async def test_app_is_tried_again_while_another_update_holds_the_fence(place: Place) -> None:
    """The gateway's error event carries the refusal of the API server."""
    app = await place.fleet.gateway.register(duet_app())
    world = place.world
    hold = world.faults.hold("restore-apps")
    patient = RESTORE.model_copy(update={"rollback_timeout": 60.0})
    request_id = await world.submit(library(2), policy=patient, apps=of_duet(app))
    await hold.reached.wait()
    # Without the gateway, the step comes as far as lowering its own fence.
    await place.fleet.kill(GATEWAY)
    hold.release()
    other = FenceEntry(request_id="other", exclusive=["TaskDefinition/scribe-task"], task_classes=["ScribeTask"])
    async with asyncio.timeout(20):
        while not (attempt := await raise_fence(world.cluster, world.namespace, other, datetime.now(UTC))).held:
            await asyncio.sleep(0.02)
    assert await await_enforcement(world.cluster, world.namespace, attempt.probe_class, within=15.0)
    await place.fleet.start(GATEWAY)
    async for view in world.client.watch(request_id):
        if any("it is under update other" in progress.note for progress in view.progress):
            break
    assert await place.fleet.gateway.apps() == {}

    await lower_fence(world.cluster, world.namespace, "other")

    view = await world.ended(request_id)
    assert view.status.outcome == "completed"
    assert list(await place.fleet.gateway.apps()) == [stopped.restored_as for stopped in view.status.apps], (
        view.status.apps
    )


async def test_restarted_gateway_has_forgotten_what_still_runs(place: Place) -> None:
    await place.fleet.gateway.register(duet_app())
    [instance] = await place.fleet.administrator.instances()
    await place.fleet.restart(GATEWAY)

    forgotten = await place.world.update(library(2), policy=REFUSE)
    assert f"instance ScribeTask {instance}" in forgotten.status.message
    assert "the gateway has forgotten it" in forgotten.status.message

    await place.delete_pods()
    leaked = await place.world.update(library(2), policy=REFUSE)
    assert f"kubectl delete unittaskinstance {instance} -n {place.world.namespace}" in leaked.status.message

    await place.world.delete_instance(instance)
    assert (await place.world.update(library(2), policy=REFUSE)).status.outcome == "completed"


async def test_instance_that_a_failed_registration_left_is_shown_as_leaked(place: Place) -> None:
    await place.fleet.kill(RESOURCE_MANAGER)
    with pytest.raises(GatewayRefused):
        await place.fleet.gateway.register(duet_app())
    [instance] = await place.fleet.administrator.instances()
    view = await place.world.update(library(2), policy=REFUSE)
    assert "leaked: neither gateway nor pod knows it" in view.status.message
    assert f"kubectl delete unittaskinstance {instance} -n {place.world.namespace}" in view.status.message


async def test_shutdown_ends_the_calls_in_flight(place: Place) -> None:
    """The platform cancels them: that is why the policy is called shutdown."""
    app = await place.fleet.gateway.register(duet_app())
    await place.fleet.executor.hold()
    call = asyncio.create_task(place.fleet.gateway.invoke(app, text="hello"))
    async with asyncio.timeout(10):
        while not await place.fleet.executor.waiting():
            await asyncio.sleep(0.02)
    view = await place.world.update(library(2), policy=SHUTDOWN)
    assert view.status.outcome == "completed"
    with pytest.raises(GatewayRefused):
        await call
