"""Services without the agent, updated by strategy ``restart``: real controllers, a real process for each pod."""

from tests.saga.sources import BROKEN, library, unit

from .conftest import SERVICES, STOCK, StockWorld


async def test_an_update_ends_with_all_pods_on_the_new_version(stock: StockWorld) -> None:
    await stock.world.start_worker()
    await stock.start_on_version_1()
    before = await stock.pods(*STOCK)
    view = await stock.world.update(library(2), request_id="to-two")
    assert (view.status.outcome, view.status.replicas) == ("completed", 4)
    assert await stock.versions(*STOCK) == [2] * 4
    assert not before & await stock.pods(*STOCK)
    assert await stock.restarted_for("gateway") == "to-two/1"
    assert view.status.mixed_version_window_ms is None


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
    assert await stock.restarted_for("dispatcher") == "broken/2"
    assert await stock.restarted_for("gateway") is None


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
    await stock.scale("dispatcher", 3)
    assert sorted(await stock.versions("dispatcher"), key=str) == [1, 1, 2]
    await stock.world.handle(request_id).cancel()

    view = await stock.world.ended(request_id)

    assert view.status.outcome == "rolled_back"
    assert await stock.versions(*STOCK) == [1] * 5
    assert await stock.pods("gateway") == gateways
    assert await stock.restarted_for("dispatcher") == "half-way/1"
