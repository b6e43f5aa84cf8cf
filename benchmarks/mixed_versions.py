"""Second figure: how long two versions are served at once, by taskroll and by restarting replicas one by one."""

import time
from pathlib import Path

from pydantic import BaseModel

from .bench_world import World
from .definitions import library
from .prober import INTERVAL
from .seen_versions import SeenVersions
from .spread import Spread


class MixedVersions(BaseModel):
    """Both ways on the same replicas, in turn, seen by a prober that is a process of its own."""

    definitions: int
    replicas: int
    processes: int
    """That hold the replicas. Where each has its own, a restart is that of the process."""
    resolution_ms: float
    """How often each replica is asked."""
    saga_ms: Spread
    saga_by_replicas_ms: Spread
    """The same by the replicas' own clocks, from their attestations."""
    restarts_ms: Spread
    restart_of_one_ms: float
    ratio: Spread
    """Of each saga's window to that of the restarts after it; neither counts as shorter than the prober can see."""


async def measure_mixed_versions(world: World, folder: Path, rounds: int) -> MixedVersions:
    """So many rounds of one saga, then one restart of all replicas in turn after a PATCH of the custom resources."""
    await world.saga()
    world.statuses.clear()
    seen = await SeenVersions.start(world.replicas.replicas, folder)
    saga, restarts, restart_seconds = list[float](), list[float](), list[float]()
    try:
        for _ in range(rounds):
            await seen.only(world.version)
            await world.saga()
            saga.append(await seen.both(world.version - 1, world.version))
            started = time.perf_counter()
            restarts.append(await _one_by_one(world, seen))
            restart_seconds.append((time.perf_counter() - started) / world.size.replicas)
            await _back_to_release(world)
    finally:
        await seen.stop()
    resolution = INTERVAL * 1000
    return MixedVersions(
        definitions=world.size.definitions,
        replicas=world.size.replicas,
        processes=-(-world.size.replicas // world.size.per_process),
        resolution_ms=resolution,
        saga_ms=Spread.of(saga),
        saga_by_replicas_ms=Spread.of([status.mixed_version_window_ms or 0.0 for status in world.statuses]),
        restarts_ms=Spread.of(restarts),
        restart_of_one_ms=Spread.of(restart_seconds).median * 1000,
        ratio=Spread.of(
            [max(one, resolution) / max(other, resolution) for one, other in zip(saga, restarts, strict=True)]
        ),
    )


async def _one_by_one(world: World, seen: SeenVersions) -> float:
    old = world.version
    contents = library(old + 1, world.size.definitions)
    await world.bare.patch_definitions(contents)
    for pod in world.replicas.replicas:
        await world.replicas.restart(pod, "custom resources")
    return await seen.both(old, old + 1)


async def _back_to_release(world: World) -> None:
    """Custom resources as the release has them, and replicas that read it. The version in between is used up."""
    await world.bare.patch_definitions(library(world.version, world.size.definitions))
    await world.replicas.restart_all("releases")


def write_mixed_versions(figures: list[MixedVersions]) -> str:
    """As Markdown."""
    lines = [
        "| replicas | saga, seen by the prober | by the replicas' clocks | restarts in turn | one | ratio | runs |",
        "|---|---|---|---|---|---|---|",
    ]
    for each in figures:
        where = "each a process" if each.processes == each.replicas else f"in {each.processes} processes"
        seen = _seen(each.saga_ms, each.resolution_ms)
        lines.append(
            f"| {each.replicas}, {where} | {seen} | {each.saga_by_replicas_ms.text(' ms')} | "
            f"{each.restarts_ms.text(' ms')} | {each.restart_of_one_ms:,.0f} ms | **{each.ratio.text('', 4)}** | "
            f"{each.saga_ms.runs} |"
        )
    lines.append("")
    lines.append(
        f"The prober asks each replica every {figures[0].resolution_ms:g} ms; no window counts as shorter than that. "
        "A restart inside of a shared process is that of agent and HTTP server only; most of it is the server's pauses."
    )
    return "\n".join(lines)


def _seen(window: Spread, resolution: float) -> str:
    if window.high < resolution:
        return f"under {resolution:g} ms"
    return window.text(" ms")
