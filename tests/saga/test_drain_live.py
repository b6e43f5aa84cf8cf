"""`drain: live`: instances stay, and no call meets two versions, since calls wait while the services flip."""

import asyncio
import itertools
import random
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import pytest

from starter.update_view import UpdateView
from taskroll.cluster.records import read_record
from taskroll.models.policy import UpdatePolicy
from taskroll.models.recorded_status import status_of_record
from taskroll_agent import CallCancelled

from .sources import library
from .world import QUICK, World

LIVE = UpdatePolicy.model_validate(QUICK.model_dump() | {"drain": "live", "live_timeout": 5})
UPDATES = 20
CALLERS = 8


def live(**more: object) -> UpdatePolicy:
    return UpdatePolicy.model_validate(LIVE.model_dump() | more)


@dataclass
class Calls:
    """Callers that go on calling: in at a gateway, from there to a dispatcher, and to another one."""

    world: World
    versions: list[set[int | None]] = field(default_factory=list)
    """Of each call, the versions that it met."""
    failed: list[BaseException] = field(default_factory=list)

    @property
    def mixed(self) -> list[set[int | None]]:
        """Of the calls that met more than one version, which."""
        return [met for met in self.versions if len(met) != 1]

    async def call(self) -> None:
        entries = [one for one in self.world.replicas.running if one.service == "gateway"]
        backing = [one for one in self.world.replicas.running if one.service == "dispatcher"]
        entry = random.choice(entries)
        async with entry.agent.gate.call(["SketchTask", "EncoderTask"]):
            met = {entry.version_of("SketchTask")}
            for one in random.sample(backing, 2):
                await asyncio.sleep(0.001)
                met.add(one.version_of("EncoderTask"))
            met.add(entry.version_of("SketchTask"))
        self.versions.append(met)

    async def forever(self) -> None:
        while True:
            try:
                await self.call()
            except Exception as error:
                self.failed.append(error)


@asynccontextmanager
async def calling(world: World) -> AsyncGenerator[Calls]:
    calls = Calls(world)
    callers = [asyncio.create_task(calls.forever()) for _ in range(CALLERS)]
    try:
        yield calls
    finally:
        for caller in callers:
            caller.cancel()
        await asyncio.gather(*callers, return_exceptions=True)


def steps(view: UpdateView) -> list[str]:
    return [step.name for step in view.status.steps]


def gates(world: World) -> list[list[str]]:
    return [replica.agent.gate.holding for replica in world.replicas.running]


@pytest.fixture
async def running(world: World) -> World:
    """Release 1, with a live instance."""
    first = await world.update(library(1))
    assert first.status.outcome == "completed", first.status.message
    await world.create_instance("EncoderTask")
    return world


async def test_updates_under_load_fail_no_call_and_mix_none(running: World, record_property) -> None:
    pauses: list[float] = []
    async with calling(running) as calls:
        for number in range(UPDATES):
            version = 2 if number % 2 == 0 else 1
            view = await running.update(library(version), policy=LIVE)
            assert view.status.outcome == "completed", view.status.message
            assert running.replicas.versions("EncoderTask") == {version}
            assert calls.mixed == []
            assert view.status.longest_pause_ms is not None
            pauses.append(view.status.longest_pause_ms)
        assert steps(view)[-5:] == ["hold-calls", "commit", "invalidate", "release-calls", "verify"]
        assert "check" not in steps(view)
    record_property("calls", len(calls.versions))
    record_property("longest_pause_ms", max(pauses))
    print(f"{len(calls.versions)} calls, longest pause {max(pauses):.1f} ms")
    assert calls.failed == []
    assert calls.mixed == []
    stored = await read_record(running.cluster, running.namespace, view.status.request_id)
    assert status_of_record(stored.record).longest_pause_ms == view.status.longest_pause_ms
    assert set(itertools.chain.from_iterable(calls.versions)) == {1, 2}
    assert len(calls.versions) > UPDATES * CALLERS


async def test_a_call_that_never_ends_takes_the_update_back(running: World) -> None:
    gateway = running.replicas.running[0]
    async with gateway.agent.gate.call(["EncoderTask"]):
        view = await running.update(library(2), policy=live(live_timeout=0.2))
    assert view.status.outcome == "rolled_back"
    assert f"gateway/{gateway.pod}: 1 in flight (EncoderTask since" in view.status.message
    assert "policy.cancel_calls" in view.status.message
    assert running.replicas.versions("EncoderTask") == {1}
    assert {tuple(holding) for holding in gates(running)} == {()}
    assert steps(view)[-4:] == ["hold-calls", "release-calls", "restore-definitions", "abort-prepare"]


async def test_a_call_that_never_ends_is_cancelled_where_asked_for(running: World) -> None:
    gateway = running.replicas.running[0]
    entered = asyncio.Event()

    async def forever() -> None:
        async with gateway.agent.gate.call(["EncoderTask"]):
            entered.set()
            await asyncio.Event().wait()

    call = asyncio.create_task(forever())
    await entered.wait()
    view = await running.update(library(2), policy=live(live_timeout=0.2, cancel_calls=True))
    assert view.status.outcome == "completed", view.status.message
    with pytest.raises(CallCancelled):
        await call
    assert any("1 call cancelled" in step.detail for step in view.status.steps)
    assert running.replicas.versions("EncoderTask") == {2}


@pytest.mark.parametrize("step", ["commit", "invalidate", "verify"])
async def test_what_fails_after_the_hold_lets_the_calls_go(running: World, step: str) -> None:
    running.faults.fail(step)
    async with calling(running) as calls:
        view = await running.update(library(2), policy=LIVE)
    assert view.status.outcome == "rolled_back", view.status.message
    assert running.replicas.versions("EncoderTask") == {1}
    assert {tuple(holding) for holding in gates(running)} == {()}
    assert calls.failed == []
    assert calls.mixed == []


async def test_a_service_without_the_agent_is_named_in_the_plan(running: World) -> None:
    fleet = running.connections.fleet
    service = fleet.config.services[1].model_copy(update={"strategy": "restart"})
    changed = fleet.config.model_copy(update={"services": [fleet.config.services[0], service]})
    original, fleet.config = fleet.config, changed
    view = await running.update(library(2), policy=LIVE)
    fleet.config = original
    assert view.status.outcome == "rejected"
    assert "dispatcher (restart)" in view.status.message
