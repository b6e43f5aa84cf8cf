"""Updates in a row, most of them terminated at a random step: no fence stays, no release is mixed, no revision is lost.

`TASKROLL_TERMINATIONS` says how many updates (6, `make test-slow` takes 50), `TASKROLL_SEED` which row of them.
"""

from __future__ import annotations

import os
import random
import time

from taskroll.cluster.definitions import list_definitions
from taskroll.cluster.fence import read_fence
from taskroll.cluster.records import list_records, verify_records
from taskroll.cluster.releases import list_releases
from taskroll.cluster.revisions import missing_revisions
from taskroll_agent.contracts import DefinitionContent

from .reconciling import has_recovery, reconcile, recovered
from .sources import composite, library, unit
from .test_taken_back import FORWARD
from .test_terminated import revisions, sealed
from .world import World

UPDATES = int(os.environ.get("TASKROLL_TERMINATIONS", "6"))
SEED = int(os.environ.get("TASKROLL_SEED", "20260101"))
SECONDS = 600
STEPS = ["plan", *FORWARD, "finish"]


def wish(draw: random.Random, version: int) -> tuple[list[DefinitionContent], list[str]]:
    """Some definitions of a new version, and at times one to delete."""
    some = [unit("EncoderTask", version), composite("SketchTask", version, "EncoderTask"), unit("WriterTask", version)]
    chosen = draw.sample(some, draw.randint(1, 3))
    extra = ["TaskDefinition/ranker-task"] if draw.random() < 0.3 else []
    return [*chosen, *([] if extra else [unit("RankerTask", version)])], extra


async def assert_sound(world: World, kept: set[str]) -> None:
    """Definitions, releases, replicas, fence and records agree with each other."""
    cluster, namespace = world.cluster, world.namespace
    assert not (await read_fence(cluster, namespace)).holders
    current, *_ = releases = await list_releases(cluster, namespace)
    live = await list_definitions(cluster, namespace)
    assert {key: definition.entry.digest for key, definition in live.items()} == current.digests()
    assert world.replicas.contents() == {current.content_digest()}
    assert await revisions(world) >= kept
    for release in releases:
        assert await missing_revisions(cluster, namespace, release.digests()) == []
    assert all(stored.sealed for stored in await list_records(cluster, namespace))
    assert await verify_records(cluster, namespace) == []


async def test_row_of_updates(world: World) -> None:
    draw = random.Random(SEED)
    began = time.monotonic()
    assert (await world.update(library(1))).status.outcome == "completed"
    outcomes: list[str | None] = []
    terminated = 0
    for number in range(UPDATES):
        kept = await revisions(world)
        definitions, delete = wish(draw, number + 2)
        where = (draw.choice(STEPS), draw.choice(["before", "after"]))
        is_released_late = draw.random() < 0.5
        if draw.random() < 0.2:
            outcomes.append((await world.update(definitions, delete=delete)).status.outcome)
            await assert_sound(world, kept)
            continue
        terminated += 1
        hold = world.faults.hold(where[0], "before" if where[1] == "before" else "after")
        request_id = await world.submit(definitions, delete=delete, request_id=f"u-{number}")
        await hold.reached.wait()
        await world.handle(request_id).terminate(reason=f"at {where}")
        if not is_released_late:
            hold.release()
        await reconcile(world, f"round-{number}")
        if await has_recovery(world, request_id):
            await recovered(world, request_id)
        hold.release()
        outcomes.append((await sealed(world, request_id)).record.outcome)
        await assert_sound(world, kept)
    assert terminated > UPDATES / 2
    assert set(outcomes) <= {"completed", "rolled_back", "no_change"}
    assert time.monotonic() - began < SECONDS
