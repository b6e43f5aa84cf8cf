"""Drain and controlled shutdown while gateway, worker or operator do what they should not."""

import asyncio
from pathlib import Path

import pytest
from aiohttp import web
from kubernetes.aio.client import CoreV1Api
from temporalio import activity

from taskroll.cluster.app_sources import app_source_name, read_app_source
from taskroll.models.apps import AppSource, source_digest
from taskroll.models.decision import AbortInput
from taskroll.models.policy import UpdatePolicy

from .sources import library
from .stand_in_gateway import StandInGateway
from .test_doctor import findings
from .test_drain import ENCODER, REFUSE, RESTORE, SHUTDOWN, SKETCH, gateway, world
from .test_worker_death import start_process
from .world import QUICK, TOKEN_VARIABLE, World, services_config

pytestmark = pytest.mark.slow


__all__ = ["gateway", "world"]

OVERDUE = QUICK.model_copy(update={"drain_timeout": 1.0})


async def test_gateway_that_is_away_holds_the_update_until_it_is_back(world: World, gateway: StandInGateway) -> None:
    await gateway.stop()
    request_id = await world.submit(library(2), policy=RESTORE)
    async for view in world.client.watch(request_id):
        if any("/app/list" in (progress.failure or "") for progress in view.progress):
            break
    assert any("gateway" in warning for warning in view.status.plan.warnings)
    await gateway.start()
    assert (await world.ended(request_id)).status.outcome == "completed"


async def test_gateway_that_stays_away_ends_the_update_with_its_name(world: World, gateway: StandInGateway) -> None:
    await gateway.stop()
    view = await world.update(library(2), policy=OVERDUE)
    assert view.status.outcome == "rolled_back"
    assert f"gateway {gateway.url}: /app/list" in view.status.message
    [check] = [step for step in view.status.steps if step.name == "check"]
    # Not after the server's own timer, half a minute later.
    assert check.seconds is not None
    assert check.seconds < 15
    assert world.replicas.versions("EncoderTask") == {1}


async def test_answers_that_are_none_are_tried_again(world: World, gateway: StandInGateway) -> None:
    gateway.fail("/app/list", 500, times=2)
    gateway.fail("/tasks/list", 200, "no JSON")
    gateway.fail("/tasks/list", 200, '{"not": "a list"}')
    assert (await world.update(library(2))).status.outcome == "completed"


async def test_gateway_that_forgot_its_apps_leaves_leaks_that_are_shown_with_the_way_out(
    world: World, gateway: StandInGateway
) -> None:
    await gateway.register(ENCODER)
    [task] = gateway.tasks
    gateway.forget()
    still_running = await world.update(library(2), policy=REFUSE)
    assert f"instance EncoderTask {task}" in still_running.status.message
    assert "the gateway has forgotten it" in still_running.status.message
    assert "kubectl delete pod,service -l task-manager-id=encodertask-" in still_running.status.message

    await gateway.remove_pods()
    leaked = await world.update(library(2), policy=REFUSE)
    assert "leaked: neither gateway nor pod knows it" in leaked.status.message
    assert f"kubectl delete unittaskinstance {task} -n {world.namespace}" in leaked.status.message

    await world.delete_instance(task)
    assert (await world.update(library(2), policy=REFUSE)).status.outcome == "completed"


async def test_pod_that_outlives_its_task_is_waited_for(world: World, gateway: StandInGateway) -> None:
    """Its GPUs are not free yet."""
    await CoreV1Api(world.api).create_namespaced_pod(
        world.namespace,
        {
            "metadata": {
                "name": "tm-left",
                "labels": {"app": "task-manager", "task-manager-id": "encodertask-0a1b2c3d"},
                "finalizers": ["example.org/holds-it"],
            },
            "spec": {"containers": [{"name": "task-manager", "image": "example/task-manager"}]},
        },
    )
    core = CoreV1Api(world.api)
    await core.delete_namespaced_pod("tm-left", world.namespace, grace_period_seconds=0)
    request_id = await world.submit(library(2))
    view = await world.waiting(request_id, "pod tm-left")
    assert any("terminating" in whom for whom in view.status.waiting_for)
    await core.patch_namespaced_pod(
        "tm-left", world.namespace, {"metadata": {"finalizers": None}}, _content_type="application/merge-patch+json"
    )
    assert (await world.ended(request_id)).status.outcome == "completed"


async def test_unregistering_that_fails_is_tried_again(world: World, gateway: StandInGateway) -> None:
    app = await gateway.register(ENCODER)
    gateway.fail("/app/unregister", 500)
    view = await world.update(library(2), policy=SHUTDOWN)
    assert view.status.outcome == "completed"
    assert gateway.calls == [f"unregister {app}"] * 2
    assert [stopped.app_id for stopped in view.status.apps] == [app]


@pytest.mark.parametrize(("policy", "back"), [(SHUTDOWN, []), (RESTORE, ["register"])])
async def test_app_counts_as_stopped_once_where_the_answer_was_lost(
    world: World, gateway: StandInGateway, policy: UpdatePolicy, back: list[str]
) -> None:
    app = await gateway.register(ENCODER)
    gateway.fail("/app/unregister after", 500)
    view = await world.update(library(2), policy=policy, apps=[AppSource(id=app, source=ENCODER)])
    assert view.status.outcome == "completed"
    assert gateway.calls == [f"unregister {app}", *back]
    assert [(stopped.app_id, stopped.note) for stopped in view.status.apps] == [(app, "")]


async def test_app_that_its_owner_unregistered_first_does_not_come_back(world: World, gateway: StandInGateway) -> None:
    app = await gateway.register(ENCODER)
    gateway.happens("/app/unregister", lambda: gateway.unregister(app))
    view = await world.update(library(2), policy=RESTORE, apps=[AppSource(id=app, source=ENCODER)])
    assert view.status.outcome == "completed"
    assert (gateway.apps, view.status.apps) == ({}, [])


async def test_shutdown_that_is_overdue_is_taken_back_and_says_what_was_stopped(
    world: World, gateway: StandInGateway
) -> None:
    """The second app cannot be unregistered; the first one comes back all the same."""
    first, second = await gateway.register(ENCODER), await gateway.register(ENCODER)
    policy = RESTORE.model_copy(update={"drain_timeout": 3.0})
    request_id = await world.submit(
        library(2), policy=policy, apps=[AppSource(id=name, source=ENCODER) for name in (first, second)]
    )

    async def stays() -> None:
        gateway.fail("/app/unregister", 500, times=1000)

    gateway.happens("/app/unregister", stays)
    view = await world.ended(request_id)
    assert view.status.outcome == "rolled_back"
    assert "/app/unregister" in view.status.message
    [stopped] = view.status.apps
    assert stopped.app_id == second
    assert set(gateway.apps) == {first, stopped.restored_as}


async def test_abort_during_the_shutdown_brings_the_stopped_apps_back(world: World, gateway: StandInGateway) -> None:
    first, second = await gateway.register(ENCODER), await gateway.register(SKETCH)
    sources = [AppSource(id=first, source=ENCODER), AppSource(id=second, source=SKETCH)]
    reached, cancelled = asyncio.Event(), asyncio.Event()

    async def stand_still() -> None:
        reached.set()
        await cancelled.wait()

    async def watch_for_cancel() -> None:
        async def note() -> None:
            await activity.wait_for_cancelled()
            cancelled.set()

        watching.append(asyncio.create_task(note()))

    watching: list[asyncio.Task[None]] = []
    gateway.happens("/app/unregister", stand_still)
    world.faults.arrange("shut-down-apps", "before", watch_for_cancel)
    request_id = await world.submit(library(2), policy=RESTORE, apps=sources)
    await reached.wait()
    await world.client.abort(request_id, AbortInput(by="anna", reason="wrong hour"))
    view = await world.ended(request_id)
    assert view.status.outcome == "rolled_back"
    assert view.status.message.startswith("aborted by anna: wrong hour")
    [stopped] = view.status.apps
    assert stopped.app_id == second
    assert gateway.users_of("EncoderTask") == [ENCODER]
    assert gateway.users_of("SketchTask") == [SKETCH]
    assert gateway.calls == [f"unregister {second}", "register"]
    assert [each.state for each in await findings(world, "apps")] == ["ok"], "it is back"


async def test_app_that_does_not_load_any_more_is_named_with_the_reason(world: World, gateway: StandInGateway) -> None:
    good, bad = await gateway.register(ENCODER), await gateway.register(ENCODER)
    sources = [AppSource(id=good, source=ENCODER), AppSource(id=bad, source=ENCODER.replace("serve", "answer"))]
    view = await world.update(library(2), policy=RESTORE, apps=sources)
    assert view.status.outcome == "completed"
    back = {app.app_id: app for app in view.status.apps}
    assert back[good].restored_as in gateway.apps
    assert back[bad].restored_as is None
    assert "Missing 'serve' function" in back[bad].note
    assert f"{bad} stopped, not back: App source code validation failed" in view.status.message
    (missing,) = await findings(world, "apps", "warning")
    assert [detail.partition(":")[0] for detail in missing.details] == [bad]
    assert "Missing 'serve' function" in missing.details[0]
    (remedy,) = missing.remedies
    digest = source_digest(sources[1].source)
    assert f" get controllerrevision {app_source_name(digest)} " in remedy.command
    assert await read_app_source(world.cluster, world.namespace, digest) == sources[1].source


async def test_gateway_that_is_away_when_the_apps_come_back_is_waited_for(
    world: World, gateway: StandInGateway
) -> None:
    app = await gateway.register(ENCODER)
    hold = world.faults.hold("restore-apps")
    request_id = await world.submit(library(2), policy=RESTORE, apps=[AppSource(id=app, source=ENCODER)])
    await hold.reached.wait()
    await gateway.stop()
    hold.release()
    async for view in world.client.watch(request_id):
        if any(f"{app}: gateway" in progress.note for progress in view.progress):
            break
    await gateway.start()
    assert (await world.ended(request_id)).status.outcome == "completed"
    assert gateway.users_of("EncoderTask") == [ENCODER]


@pytest.mark.parametrize(
    ("path", "calls"),
    [
        ("/app/unregister", ["unregister", "unregister", "register"]),
        ("/app/unregister after", ["unregister", "register"]),
        ("/app/register", ["unregister", "register", "register"]),
        ("/app/register admitted", ["unregister", "register"]),
        ("/app/register named", ["unregister", "register"]),
    ],
)
async def test_worker_that_dies_in_the_middle_leaves_no_app_out_and_none_twice(
    bare_world: World, gateway: StandInGateway, tmp_path: Path, path: str, calls: list[str]
) -> None:
    """It is killed while the gateway carries out its call; another worker finishes the update."""
    await bare_world.with_services(services_config(TOKEN_VARIABLE, gateway_url=gateway.url))
    await bare_world.replicas.start("gateway")
    await bare_world.replicas.start("dispatcher")
    process = await start_process(bare_world, "none", "before", tmp_path / "died", gateway_url=gateway.url)
    assert (await bare_world.update(library(1))).status.outcome == "completed"
    app = await gateway.register(ENCODER)

    async def kill() -> web.StreamResponse | None:
        process.kill()
        await process.wait()
        return web.Response(status=500) if path in ("/app/unregister", "/app/register") else None

    gateway.faults[path] = [kill]
    policy = RESTORE.model_copy(update={"drain_timeout": 60.0, "rollback_timeout": 60.0})
    request_id = await bare_world.submit(library(2), policy=policy, apps=[AppSource(id=app, source=ENCODER)])
    await process.wait()
    await bare_world.start_worker()
    view = await bare_world.ended(request_id)
    assert view.status.outcome == "completed"
    assert [call.partition(" ")[0] for call in gateway.calls] == calls
    assert [(stopped.app_id, stopped.restored_as) for stopped in view.status.apps] == [(app, *gateway.apps)]
    assert gateway.users_of("EncoderTask") == [ENCODER]
