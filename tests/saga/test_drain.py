"""What uses a definition is found and named, waited for, stopped and put back: with a stand-in for the gateway.

`interop/tests/test_drain.py` has the same situations with Cornserve's own gateway.
"""

from collections.abc import AsyncGenerator

import pytest

from taskroll.models.apps import AppSource

from .sources import library
from .stand_in_gateway import StandInGateway, app_source, stand_in_gateway
from .world import QUICK, TOKEN_VARIABLE, World, services_config

REFUSE = QUICK.model_copy(update={"drain": "refuse"})
SHUTDOWN = QUICK.model_copy(update={"drain": "shutdown", "grace": 0.0})
RESTORE = SHUTDOWN.model_copy(update={"restore_apps": True})

ENCODER, WRITER, SKETCH = app_source("EncoderTask"), app_source("WriterTask"), app_source("SketchTask")


@pytest.fixture
async def gateway(bare_world: World) -> AsyncGenerator[StandInGateway]:
    async with stand_in_gateway(bare_world.namespace, bare_world.api) as gateway:
        yield gateway


@pytest.fixture
async def world(bare_world: World, gateway: StandInGateway) -> World:
    """Version 1 is released on one replica, and the worker knows the gateway."""
    await bare_world.with_services(services_config(TOKEN_VARIABLE, gateway_url=gateway.url))
    await bare_world.start_worker()
    await bare_world.replicas.start("gateway")
    await bare_world.replicas.start("dispatcher")
    assert (await bare_world.update(library(1))).status.outcome == "completed"
    return bare_world


async def test_refuse_names_app_task_instance_and_pod(world: World, gateway: StandInGateway) -> None:
    app = await gateway.register(SKETCH)
    [task] = gateway.tasks

    view = await world.update(library(2), policy=REFUSE, apps=[AppSource(id=app, source=SKETCH)])

    assert view.status.outcome == "rolled_back"
    assert "policy.drain is refuse" in view.status.message
    for name in (f"app {app}", f"instance EncoderTask {task}", "pod tm-encodertask-"):
        assert name in view.status.message
    assert world.replicas.versions("EncoderTask") == {1}


async def test_app_without_a_known_source_is_named_while_a_task_is_deployed_that_it_may_use(
    world: World, gateway: StandInGateway
) -> None:
    app = await gateway.register(ENCODER)
    view = await world.update(library(2), policy=REFUSE)
    assert f"app {app} (since " in view.status.message
    assert "its source is not known" in view.status.message


async def test_apps_that_do_not_use_the_closure_hold_nothing_up(world: World, gateway: StandInGateway) -> None:
    """One whose source says so, and one of unknown source while no task is deployed that it might use."""
    known, unknown = await gateway.register(WRITER), await gateway.register(WRITER)
    view = await world.update(library(2), policy=SHUTDOWN, apps=[AppSource(id=known, source=WRITER)])
    assert view.status.outcome == "completed"
    assert list(gateway.apps) == [known, unknown]
    assert view.status.apps == []


async def test_wait_sees_the_app_go(world: World, gateway: StandInGateway) -> None:
    app = await gateway.register(ENCODER)
    request_id = await world.submit(library(2))
    waiting = await world.waiting(request_id, f"app {app}")
    assert any(whom.startswith("instance EncoderTask ") and "since 20" in whom for whom in waiting.status.waiting_for)
    await gateway.unregister(app)
    view = await world.ended(request_id)
    assert view.status.outcome == "completed"
    assert gateway.calls == []


async def test_shutdown_unregisters_the_apps_and_the_record_says_which(world: World, gateway: StandInGateway) -> None:
    first, second, other = [await gateway.register(source) for source in (ENCODER, SKETCH, WRITER)]
    sources = [AppSource(id=first, source=ENCODER), AppSource(id=other, source=WRITER)]
    view = await world.update(library(2), policy=SHUTDOWN, apps=sources)
    assert view.status.outcome == "completed"
    assert [app.app_id for app in view.status.apps] == [first, second]
    assert gateway.calls == [f"unregister {first}", f"unregister {second}"]
    assert list(gateway.apps) == [other]
    assert "apps: " + f"{first} stopped, {second} stopped" in view.status.message


async def test_restore_brings_the_apps_back_in_the_order_in_which_they_were_registered(
    world: World, gateway: StandInGateway
) -> None:
    first, second = await gateway.register(ENCODER), await gateway.register(SKETCH)
    sources = [AppSource(id=first, source=ENCODER), AppSource(id=second, source=SKETCH)]
    view = await world.update(library(2), policy=RESTORE, apps=sources)
    assert view.status.outcome == "completed"
    assert gateway.calls == [f"unregister {second}", f"unregister {first}", "register", "register"]
    assert list(gateway.sources.values()) == [ENCODER, SKETCH]
    back = {app.app_id: app.restored_as for app in view.status.apps}
    assert [back[first], back[second]] == list(gateway.apps)
    assert set(gateway.apps.values()) == {"ready"}


async def test_record_says_what_was_stopped_and_came_back_after_the_history_is_gone(
    world: World, gateway: StandInGateway
) -> None:
    app = await gateway.register(ENCODER)
    request_id = await world.submit(library(2), policy=RESTORE, apps=[AppSource(id=app, source=ENCODER)])
    await world.ended(request_id)
    stored = await world.client.cluster.record(request_id)
    assert stored is not None
    [recorded] = stored.record.apps
    assert (recorded.app_id, recorded.restored_as, recorded.note) == (app, *gateway.apps, "")


async def test_app_that_was_restored_needs_no_source_the_next_time(world: World, gateway: StandInGateway) -> None:
    app = await gateway.register(ENCODER)
    await world.update(library(2), policy=RESTORE, apps=[AppSource(id=app, source=ENCODER)])
    [restored] = gateway.apps
    view = await world.update(library(3), policy=RESTORE)
    assert view.status.outcome == "completed"
    assert [stopped.app_id for stopped in view.status.apps] == [restored]
    assert gateway.users_of("EncoderTask") == [ENCODER]


async def test_apps_come_back_after_a_rollback_too(world: World, gateway: StandInGateway) -> None:
    app = await gateway.register(ENCODER)
    world.faults.fail("verify")
    view = await world.update(library(2), policy=RESTORE, apps=[AppSource(id=app, source=ENCODER)])
    assert view.status.outcome == "rolled_back"
    assert view.status.restored_byte_for_byte
    assert gateway.users_of("EncoderTask") == [ENCODER]
    assert [stopped.restored_as for stopped in view.status.apps] == list(gateway.apps)


async def test_restore_is_refused_before_anything_is_stopped_where_a_source_is_missing(
    world: World, gateway: StandInGateway
) -> None:
    known, unknown = await gateway.register(ENCODER), await gateway.register(ENCODER)
    view = await world.update(library(2), policy=RESTORE, apps=[AppSource(id=known, source=ENCODER)])
    assert view.status.outcome == "rejected"
    assert f"--app ID=PATH, or leave out --restore-apps: {unknown}" in view.status.message
    assert list(gateway.apps) == [known, unknown]


async def test_app_of_unknown_source_that_comes_after_the_plan_is_not_stopped_either(
    world: World, gateway: StandInGateway
) -> None:
    known = await gateway.register(ENCODER)
    hold = world.faults.hold("fence")
    request_id = await world.submit(library(2), policy=RESTORE, apps=[AppSource(id=known, source=ENCODER)])
    await hold.reached.wait()
    # It joins a deployment that exists, so no instance is created and the fence has nothing to refuse.
    late = await gateway.register(ENCODER)
    hold.release()
    view = await world.ended(request_id)
    assert view.status.outcome == "rolled_back"
    assert late in view.status.message
    assert list(gateway.apps) == [known, late]


async def test_grace_lets_apps_end_by_themselves(world: World, gateway: StandInGateway) -> None:
    app = await gateway.register(ENCODER)
    policy = RESTORE.model_copy(update={"grace": 25.0})
    request_id = await world.submit(library(2), policy=policy, apps=[AppSource(id=app, source=ENCODER)])
    await world.waiting(request_id, f"app {app}")
    await gateway.unregister(app)
    view = await world.ended(request_id)
    assert view.status.outcome == "completed"
    assert (gateway.calls, view.status.apps) == ([], [])


async def test_shutdown_without_a_platform_is_rejected_with_the_way_out(bare_world: World) -> None:
    await bare_world.start_worker()
    view = await bare_world.update(library(1), policy=SHUTDOWN)
    assert view.status.outcome == "rejected"
    assert "services.yaml has no platform section" in view.status.message


async def test_history_stays_small_and_holds_no_source_of_an_app(world: World, gateway: StandInGateway) -> None:
    source = ENCODER + "# only here\n"
    apps = [AppSource(id=await gateway.register(source), source=source) for _ in range(10)]
    request_id = await world.submit(library(2), policy=RESTORE, apps=apps)
    view = await world.ended(request_id)
    assert (view.status.outcome, len(view.status.apps)) == ("completed", 10)
    history = await world.handle(request_id).fetch_history()
    print(f"{len(history.events)} events, {len(history.to_json())} bytes as JSON")
    assert len(history.events) <= 90
    assert "only here" not in history.to_json()
