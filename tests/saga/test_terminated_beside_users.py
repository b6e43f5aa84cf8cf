"""The workflow of an update is terminated while it stops apps, or holds calls: apps come back, calls go on."""

import asyncio
from collections.abc import AsyncGenerator

import pytest

from taskroll.cluster.fence import read_fence
from taskroll.cluster.records import read_record
from taskroll.models.apps import AppSource

from .reconciling import reconcile, recovered
from .sources import library
from .stand_in_gateway import StandInGateway, app_source, stand_in_gateway
from .test_drain_live import calling, live
from .world import QUICK, TOKEN_VARIABLE, World, services_config

pytestmark = pytest.mark.slow

RESTORE = QUICK.model_copy(update={"drain": "shutdown", "grace": 0.0, "restore_apps": True})
ENCODER = app_source("EncoderTask")


@pytest.fixture
async def gateway(bare_world: World) -> AsyncGenerator[StandInGateway]:
    async with stand_in_gateway(bare_world.namespace, bare_world.api) as gateway:
        yield gateway


@pytest.mark.parametrize(
    ("step", "moment", "outcome"),
    [
        ("shut-down-apps", "before", "rolled_back"),
        ("shut-down-apps", "after", "rolled_back"),
        ("restore-apps", "before", "completed"),
        ("restore-apps", "after", "completed"),
    ],
)
async def test_stopped_apps_come_back(
    bare_world: World, gateway: StandInGateway, step: str, moment: str, outcome: str
) -> None:
    world = bare_world
    await world.with_services(services_config(TOKEN_VARIABLE, gateway_url=gateway.url))
    await world.start_worker()
    await world.replicas.start("gateway")
    await world.replicas.start("dispatcher")
    await world.update(library(1))
    app = await gateway.register(ENCODER)

    hold = world.faults.hold(step, "before" if moment == "before" else "after")
    request_id = await world.submit(library(2), policy=RESTORE, apps=[AppSource(id=app, source=ENCODER)])
    await hold.reached.wait()
    await world.handle(request_id).terminate(reason="out of patience")
    await reconcile(world)
    await recovered(world, request_id)

    record = (await read_record(world.cluster, world.namespace, request_id)).record
    assert record.outcome == outcome, record.message
    assert "out of patience" in record.message
    assert not (await read_fence(world.cluster, world.namespace)).holders
    assert world.replicas.versions("EncoderTask") == {2 if outcome == "completed" else 1}
    assert list(gateway.apps.values()) == ["ready"]
    if (step, moment) != ("shut-down-apps", "before"):
        assert [(one.app_id, one.restored_as) for one in record.apps] == [(app, next(iter(gateway.apps)))]


@pytest.mark.parametrize(
    ("step", "moment", "outcome"),
    [
        ("hold-calls", "before", "rolled_back"),
        ("hold-calls", "after", "rolled_back"),
        ("release-calls", "before", "completed"),
        ("release-calls", "after", "completed"),
    ],
)
async def test_held_calls_go_on(world: World, step: str, moment: str, outcome: str) -> None:
    await world.update(library(1))
    async with calling(world) as calls:
        hold = world.faults.hold(step, "before" if moment == "before" else "after")
        request_id = await world.submit(library(2), policy=live())
        await hold.reached.wait()
        await world.handle(request_id).terminate(reason="out of patience")
        await reconcile(world)
        await recovered(world, request_id)
        seen = len(calls.versions)
        async with asyncio.timeout(2):  # long before the hold expires by itself
            while len(calls.versions) < seen + 10:
                await asyncio.sleep(0.01)
    record = (await read_record(world.cluster, world.namespace, request_id)).record
    assert record.outcome == outcome, record.message
    assert calls.failed == []
    assert not (await read_fence(world.cluster, world.namespace)).holders
    assert world.replicas.versions("EncoderTask") == {2 if outcome == "completed" else 1}
