"""Updates back and forth under load: no call fails, none is mixed, and nothing of the former generations stays."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import starmap
from statistics import median
from typing import Any

import aiohttp
import pytest

from interop.adapted import adapted_fleet
from interop.direct import DirectUpdate
from interop.fleet import Fleet
from interop.library import duet_app, library
from tests.saga.world import QUICK, World

from .test_adapter import run_version, versions_in

LIVE = QUICK.model_copy(update={"drain": "live"})

RATE = 120
"""Invocations per second."""

TIME_FLIPS = """
import time
(registry,) = living("Registry")
activate, sys._flips = registry.activate, []
def waited():
    return int(open("/proc/thread-self/schedstat").read().split()[1]) / 1e6
def timed(*args, **more):
    began, own = waited(), time.thread_time()
    try:
        return activate(*args, **more)
    finally:
        own = 1000 * (time.thread_time() - own)
        sys._flips.append([registry.flip_ms, registry.flip_ms - (waited() - began), own])
registry.activate = timed
"""
"""Has a service note of each flip: how long its event loop stood by the clock; the same without the time in which the
kernel had it wait for a processor; and for how long it computed. In milliseconds."""

MEMORY = """
gc.collect()
(registry,) = living("Registry")
rss = next(line for line in open("/proc/self/status") if line.startswith("VmRSS")).split()[1]
return {
    "rss": int(rss),
    "fds": len(os.listdir("/proc/self/fd")),
    "generations": len(registry.generations()),
    "objects": len(gc.get_objects()),
}
"""


@dataclass
class Load:
    """Invocations of an app at a steady rate: an open loop, that does not slow down where the gateway does."""

    url: str
    answers: list[dict[str, Any]] = field(default_factory=list[dict[str, Any]])
    failed: list[str] = field(default_factory=list[str])
    latencies: list[float] = field(default_factory=list[float])

    async def run(self, stop: asyncio.Event) -> None:
        async with aiohttp.ClientSession() as session, asyncio.TaskGroup() as group:
            begin, sent = time.perf_counter(), 0
            while not stop.is_set():
                group.create_task(self._call(session))
                sent += 1
                await asyncio.sleep(max(0.0, begin + sent / RATE - time.perf_counter()))
            self.seconds = time.perf_counter() - begin

    async def _call(self, session: aiohttp.ClientSession) -> None:
        started = time.perf_counter()
        async with session.post(self.url, json={"request_data": {"text": "load"}}) as response:
            if response.status == 200:
                self.answers.append(await response.json())
            else:
                self.failed.append(f"{response.status} {await response.text()}"[:300])
        self.latencies.append(time.perf_counter() - started)


async def test_20_updates_under_load_fail_and_mix_no_call(cornserve_world: World, adapted: Fleet, capsys: Any) -> None:
    await cornserve_world.update(library(1))
    app = await adapted.gateway.register(duet_app())
    load, stop = Load(f"{adapted.gateway_url}/app/invoke/{app}"), asyncio.Event()
    running = asyncio.create_task(load.run(stop))
    await asyncio.sleep(1)  # load before the first update, too

    for number in range(20):
        view = await cornserve_world.update(library(2 - number % 2), policy=LIVE)
        assert view.status.outcome == "completed", view.status
    stop.set()
    await running

    mixed = [answer for answer in load.answers if len(versions_in(answer)) > 1]
    served = {version: sum(answer["version"] == version for answer in load.answers) for version in (1, 2)}
    with capsys.disabled():
        print(
            f"\n{len(load.latencies)} calls in {load.seconds:.1f} s, {served}; failed {len(load.failed)}, mixed "
            f"{len(mixed)}; longest pause by the gate {longest_pause(adapted):.0f} ms; "
            f"slowest call {max(load.latencies) * 1000:.0f} ms"
        )
    assert load.failed == []
    assert mixed == []
    assert min(served.values()) > 100
    assert len(load.latencies) / load.seconds >= 100


SCRIBE_APP = """
from cornserve.app.base import AppConfig
from pydantic import BaseModel

from cornserve_tasklib.task.unit.scribe import ScribeInput, ScribeTask


class Request(BaseModel):
    text: str


class Response(BaseModel):
    received: dict


class Config(AppConfig):
    tasks = {"scribe": ScribeTask()}


async def serve(request: Request) -> Response:
    written = await Config.tasks["scribe"](ScribeInput(text=request.text))
    return Response(received=written.received)
"""
"""An app that does not use the composite `DuetTask`."""


async def test_updates_that_wait_for_no_call_fail_none_of_other_tasks(
    cornserve_world: World, adapted: Fleet, direct: DirectUpdate
) -> None:
    await cornserve_world.update(library(1))
    app = await adapted.gateway.register(SCRIBE_APP)
    load, stop = Load(f"{adapted.gateway_url}/app/invoke/{app}"), asyncio.Event()
    running = asyncio.create_task(load.run(stop))

    for number in range(20):
        duet = [one for one in library(2 - number % 2) if one.class_name == "DuetTask"]
        view = await cornserve_world.update(duet)
        assert view.status.outcome == "completed", view.status
    stop.set()
    await running

    assert load.failed == []
    assert len(load.answers) > 500
    assert {name: said.epoch for name, said in (await direct.attestations()).items()} == dict.fromkeys(
        (service.name for service in adapted.stock), 21
    )
    await adapted.gateway.unregister(app)
    assert await adapted.administrator.instances() == []


def longest_pause(fleet: Fleet) -> float:
    """Milliseconds that the gateway held its calls for, at the longest, by its log."""
    marks = [line for line in fleet["gateway"].log_text().splitlines() if "calls released after" in line]
    assert len(marks) == 20
    return max(float(line.rpartition("after ")[2].removesuffix(" ms")) for line in marks)


@pytest.mark.slow
async def test_200_swaps_leave_nothing_behind(
    cornserve_world: World, adapted: Fleet, direct: DirectUpdate, capsys: Any
) -> None:
    await cornserve_world.update(library(1))
    app = await adapted.gateway.register(duet_app())
    for number in range(100):
        await direct.update(library(2 - number % 2))
    warm = {service.name: await service.run(MEMORY) for service in adapted.stock}
    for number in range(100):
        await direct.update(library(2 - number % 2))
    after = {service.name: await service.run(MEMORY) for service in adapted.stock}

    with capsys.disabled():
        print("\nafter 100 swaps", warm, "\nafter 200   ", after)
    for name in warm:
        assert after[name]["generations"] <= 2, name
        assert after[name]["fds"] <= warm[name]["fds"] + 2, name
        assert after[name]["objects"] < warm[name]["objects"] * 1.005, name
        assert after[name]["rss"] < warm[name]["rss"] * 1.05, name
    await run_version(adapted, direct, 1)
    await adapted.gateway.unregister(app)
    assert await adapted.gateway.tasks() == []


@pytest.mark.slow
async def test_the_flip_blocks_the_event_loop_for_5_ms_at_most(cornserve_world: World, capsys: Any) -> None:
    async with adapted_fleet(cornserve_world, gpus=24) as fleet:
        direct = DirectUpdate.of(cornserve_world, fleet)
        await cornserve_world.update(library(1))
        for number in range(20):
            await fleet.gateway.use("ScribeTask", model_id=f"pen-{number}")
        for _ in range(3):
            await fleet.gateway.register(duet_app())
        for service in fleet.stock:
            await service.run(TIME_FLIPS)
        for number in range(100):
            await direct.update(library(2 - number % 2))
        flips = {service.name: await service.run("return sys._flips") for service in fleet.stock}
        attested = {name: said.flip_ms for name, said in (await direct.attestations()).items()}
        await direct.client.aclose()

    with capsys.disabled():
        print()
        for name, times in flips.items():
            columns = zip(("by the clock", "not waiting", "computing"), zip(*times, strict=True), strict=True)
            print(name, "; ".join(starmap(spread, columns)))
    for name, times in flips.items():
        assert len(times) == 100, name
        assert attested[name] == times[-1][0], name
        assert max(blocked for _, blocked, _ in times) <= 5, name


def spread(what: str, times: Sequence[float]) -> str:
    at = sorted(times)
    return f"{what}: median {median(at):.2f}, 99 % {at[len(at) * 99 // 100 - 1]:.2f}, longest {at[-1]:.2f} ms"
