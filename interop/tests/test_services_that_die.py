"""Services that are killed at a step of an update: each comes up on what its peers run, and the update ends whole."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Any

import httpx
import pytest

from interop.direct import DirectUpdate
from interop.fleet import DISPATCHER, GATEWAY, RESOURCE_MANAGER, Fleet
from interop.gateway import GatewayRefused
from interop.library import duet_app, library
from tests.saga.faults import Hold, Moment
from tests.saga.world import QUICK, World

from .test_adapter import run_version, versions_in

LIVE = QUICK.model_copy(update={"drain": "live"})

SERVICES = {
    GATEWAY: ["gateway"],
    RESOURCE_MANAGER: ["resource-manager"],
    DISPATCHER: ["task-dispatcher-0", "task-dispatcher-1"],
}
"""Each service, with all replicas that it has: they die together."""


@dataclass(frozen=True)
class At:
    """The moment at which a service dies."""

    step: str
    moment: Moment = "before"
    time: int = 1
    """Which time that the update comes to this step: a rollback comes to some again."""
    failing: str = ""
    """The step that fails, so that the update is taken back."""

    def __str__(self) -> str:
        again = "" if self.time == 1 else " again"
        return f"{self.moment} {self.step}{again}{f' as {self.failing} failed' if self.failing else ''}"

    def hold(self, world: World) -> Hold:
        """Let the update stand still at this moment, once it gets there."""
        if self.failing:
            world.faults.fail(self.failing)
        # A step that fails at its first time uses that up.
        for _ in range(self.time - 1 - (self.failing == self.step)):
            world.faults.arrange(self.step, self.moment, _nothing)
        return world.faults.hold(self.step, self.moment)


async def _nothing() -> None:
    """In place of a fault."""


async def die(fleet: Fleet, direct: DirectUpdate, service: str) -> None:
    """Kill a service and start it in new pods; assert that it comes up on what all its peers run."""
    names = SERVICES[service]
    pods = {name: fleet[name].pod_uid for name in names}
    await asyncio.gather(*(fleet.restart(name, new_pod=True) for name in names))
    await asyncio.gather(*(direct.until_ready(name) for name in names))

    said = await direct.attestations()
    assert {said[name].pod_uid for name in names}.isdisjoint(pods.values())
    assert len({(one.epoch, one.content_digest) for one in said.values()}) == 1, said
    assert {one.problem for one in said.values()} == {None}


def slow(*moments: At) -> list[object]:
    """Left to `make test-slow`: a case takes some 12 s."""
    return [pytest.param(at, marks=pytest.mark.slow, id=str(at)) for at in moments]


DRAINED = [
    At("prepare"),
    At("commit"),
    At("revert-release", failing="verify"),
    *slow(
        *(At(step) for step in ("fence", "check", "stage", "patch", "invalidate", "verify")),
        At("verify", "after"),
        At("finish"),
        At("invalidate", time=2, failing="verify"),
        At("verify", time=2, failing="verify"),
        At("restore-definitions", failing="verify"),
        At("abort-prepare", failing="verify"),
        At("finish", failing="verify"),
    ),
]


@pytest.mark.parametrize("at", DRAINED, ids=str)
async def test_a_service_dies_in_an_update_that_has_drained(
    cornserve_world: World, adapted: Fleet, direct: DirectUpdate, at: At
) -> None:
    await cornserve_world.update(library(1))
    running = 1
    for service in SERVICES:
        held = at.hold(cornserve_world)
        request = await cornserve_world.submit(library(3 - running))
        await held.reached.wait()
        await die(adapted, direct, service)
        held.release()

        view = await cornserve_world.ended(request)
        running = running if at.failing else 3 - running
        assert view.status.outcome == ("rolled_back" if at.failing else "completed"), view.status
        await run_version(adapted, direct, running)


UNDER_HOLD = [
    At("commit"),
    At("release-calls", failing="commit"),
    At("hold-calls", "after"),
    At("invalidate"),
    At("release-calls"),
    At("revert-release", failing="verify"),
    At("invalidate", time=2, failing="verify"),
    At("release-calls", time=2, failing="verify"),
]
"""Where calls are held while the service dies."""

LIVE_BUT_NOT_HELD = [
    At("hold-calls"),
    At("verify"),
    At("finish"),
    At("hold-calls", time=2, failing="verify"),
    At("restore-definitions", failing="commit"),
    At("abort-prepare", failing="commit"),
]


LIVE_MOMENTS = [*UNDER_HOLD[:2], *slow(*UNDER_HOLD[2:], *LIVE_BUT_NOT_HELD)]


@pytest.mark.parametrize("at", LIVE_MOMENTS, ids=str)
async def test_a_service_dies_in_a_live_update(
    cornserve_world: World, adapted: Fleet, direct: DirectUpdate, at: At
) -> None:
    await cornserve_world.update(library(1))
    app, running = await adapted.gateway.register(duet_app()), 1
    for service in SERVICES:
        held = at.hold(cornserve_world)
        request = await cornserve_world.submit(library(3 - running), policy=LIVE)
        await held.reached.wait()
        call = asyncio.create_task(adapted.gateway.invoke(app, text="in between"))
        if at in UNDER_HOLD:
            await until_held(adapted)
        else:
            assert len(versions_in(await call)) == 1
        await die(adapted, direct, service)
        assert call.done() is (at not in UNDER_HOLD or service == GATEWAY)
        held.release()

        view = await cornserve_world.ended(request)
        running = running if at.failing else 3 - running
        assert view.status.outcome == ("rolled_back" if at.failing else "completed"), view.status
        if at in UNDER_HOLD:
            await ends_as_it_must(call, service, running)
        app = await registered(adapted, app, service)
        for _ in range(4):
            assert versions_in(await adapted.gateway.invoke(app, text="afterwards")) == {running}
        await run_version(adapted, direct, running)
        assert [await waiting_calls(adapted, one.name) for one in adapted.stock] == [{}] * len(adapted.stock)


WAITING_CALLS = """
(gate,) = living("Gate")
return {update: gate._holds[update]._waited_calls for update in gate.holding}
"""


async def waiting_calls(fleet: Fleet, name: str) -> dict[str, int]:
    """Update that holds calls in a service → how many have come meanwhile."""
    return await fleet[name].run(WAITING_CALLS)


async def until_held(fleet: Fleet) -> None:
    async with asyncio.timeout(10):
        while not any((await waiting_calls(fleet, "gateway")).values()):
            await asyncio.sleep(0.02)


async def ends_as_it_must(call: asyncio.Task[dict[str, Any]], service: str, version: int) -> None:
    """Assert that a call which was held was let go, and met no other version."""
    async with asyncio.timeout(10):
        if service == GATEWAY:
            with pytest.raises(httpx.TransportError):
                await call
        elif service == DISPATCHER:
            # Cornserve's: a dispatcher that comes back knows of no task deployed before.
            with pytest.raises(GatewayRefused):
                await call
        else:
            assert versions_in(await call) == {version}


async def registered(fleet: Fleet, app: str, service: str) -> str:
    """The app, registered anew where Cornserve itself forgets what a service that died has known of it."""
    if service == RESOURCE_MANAGER:
        return app
    if service == DISPATCHER:
        await fleet.gateway.unregister(app)
    return await fleet.gateway.register(duet_app())
