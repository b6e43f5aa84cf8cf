"""Services without the agent, updated by strategy ``restart``: real controllers, a real process for each pod."""

import asyncio
from pathlib import Path

import pytest

from tests.saga.sources import BROKEN, library, unit
from tests.saga.test_worker_death import start_process
from tests.saga.world import PATIENT

from .conftest import MIXED, SERVICES, STOCK, StockWorld

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1500)]
"""Where the cache has no controller manager it is built, once: 2 minutes on two idle cores."""


async def test_an_update_ends_with_all_pods_on_the_new_version(stock: StockWorld) -> None:
    await stock.world.start_worker()
    await stock.start_on_version_1()
    before = await stock.pods(*STOCK)
    view = await stock.world.update(library(2), request_id="to-two")
    assert (view.status.outcome, view.status.replicas) == ("completed", 4)
    assert await stock.versions(*STOCK) == [2] * 4
    assert not before & await stock.pods(*STOCK)
    assert await stock.deployments.restarted_for("gateway") == "to-two/1"
    assert view.status.mixed_version_window_ms is None
    assert view.status.plan is not None
    gateway = next(service for service in view.status.plan.services if service.name == "gateway")
    assert (gateway.strategy, gateway.replicas) == ("restart", 2)
    assert gateway.proof.startswith("before the commit: cannot be checked")
    assert gateway.proof.endswith("restart-safe only as far as the fence holds")


async def test_a_version_that_crashes_at_start_is_taken_back(stock: StockWorld) -> None:
    await stock.world.start_worker()
    await stock.start_on_version_1()
    dispatchers = await stock.pods("dispatcher")
    gateways = await stock.pods("gateway")
    stock.use(SERVICES.replace("timeout: 40", "timeout: 5", 1))
    before = await stock.world.definitions()

    view = await stock.world.update([unit("EncoderTask", 2), BROKEN], request_id="broken")

    assert view.status.outcome == "rolled_back"
    assert "dispatcher: not complete within 5 s" in view.status.message
    assert "CrashLoopBackOff" in view.status.message
    assert await stock.world.definitions() == before
    assert await stock.versions(*STOCK) == [1] * 4
    assert not dispatchers & await stock.pods("dispatcher"), "each pod was made anew, from the restored definitions"
    assert await stock.pods("gateway") == gateways, "of a later order: never restarted, so not on the way back either"
    assert await stock.deployments.restarted_for("dispatcher") == "broken/2"
    assert await stock.deployments.restarted_for("gateway") is None


async def test_an_update_that_fails_before_it_is_committed_replaces_only_pods_that_came_meanwhile(
    stock: StockWorld,
) -> None:
    """A pod that was made between CR patch and commit has read the new definitions."""
    await stock.world.start_worker()
    await stock.start_on_version_1()
    gateways = await stock.pods("gateway")
    hold = stock.world.faults.hold("commit")
    request_id = await stock.world.submit(library(2), request_id="half-way")
    await hold.reached.wait()
    await stock.deployments.scale("dispatcher", 3)
    assert sorted(await stock.versions("dispatcher"), key=str) == [1, 1, 2]
    await stock.world.handle(request_id).cancel()

    view = await stock.world.ended(request_id)

    assert view.status.outcome == "rolled_back"
    assert await stock.versions(*STOCK) == [1] * 5
    assert await stock.pods("gateway") == gateways
    assert await stock.deployments.restarted_for("dispatcher") == "half-way/1"


async def test_a_worker_that_is_killed_in_the_middle_of_a_rollout(stock: StockWorld, tmp_path: Path) -> None:
    """Another one goes on with the same rollout instead of beginning one of its own."""
    await stock.start_on_version_1()
    stock.runner.may_start.clear()
    first = await start_process(stock.world, "none", "before", tmp_path / "no", services=SERVICES)
    request_id = await stock.world.submit(library(2), request_id="orphan", policy=PATIENT)
    while await stock.deployments.restarted_for("dispatcher") is None:
        await asyncio.sleep(0.05)
    generation = await stock.deployments.generation("dispatcher")
    first.kill()
    await first.wait()
    second = await start_process(stock.world, "none", "before", tmp_path / "no", services=SERVICES)
    stock.runner.may_start.set()
    try:
        view = await stock.world.ended(request_id)
    finally:
        second.terminate()
        await second.wait()

    assert view.status.outcome == "completed"
    assert await stock.versions(*STOCK) == [2] * 4
    assert await stock.deployments.generation("dispatcher") == generation, "its spec was written once"


async def test_agents_and_stock_services_in_one_update(stock: StockWorld) -> None:
    stock.use(MIXED)
    await stock.world.start_worker()
    await stock.start_on_version_1()
    await stock.world.replicas.start("agents", 2)

    view = await stock.world.update(library(2), request_id="forward")

    assert (view.status.outcome, view.status.replicas) == ("completed", 6)
    assert [step.detail for step in view.status.steps if step.name == "prepare"] == [
        "2 replicas loaded it, 4 cannot be checked before the commit"
    ]
    assert await stock.versions(*STOCK) == [2] * 4
    assert stock.world.replicas.versions("EncoderTask") == {2}


async def test_agents_and_stock_services_go_back_together(stock: StockWorld) -> None:
    stock.use(MIXED)
    await stock.world.start_worker()
    await stock.start_on_version_1()
    await stock.world.replicas.start("agents", 2)
    await stock.world.update(library(2), request_id="forward")
    stock.world.faults.fail("verify")

    view = await stock.world.update(library(3), request_id="back")

    assert view.status.outcome == "rolled_back"
    assert view.status.restored_byte_for_byte
    assert await stock.versions(*STOCK) == [2] * 4
    assert stock.world.replicas.versions("EncoderTask") == {2}
    assert await stock.deployments.restarted_for("gateway") == "back/3"
