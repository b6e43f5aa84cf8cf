"""The workflow of an update is terminated, at any step: all is as before, or all is new; the fence is down, the record
says why; within two intervals of the reconciler's schedule."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from dataclasses import dataclass
from datetime import UTC, datetime

import pytest

from taskroll.cluster.documents import list_documents
from taskroll.cluster.fence import read_fence
from taskroll.cluster.records import StoredRecord, read_record, verify_records
from taskroll.cluster.releases import list_releases
from taskroll.devstack import StackInfo
from taskroll.models.errors import UnknownUpdate
from taskroll_agent.contracts import Release

from .reconciling import scheduled
from .replicas import TOKEN
from .sources import library
from .test_taken_back import DELETED, FORWARD, everything
from .world import TOKEN_VARIABLE, World, create_world

pytestmark = pytest.mark.slow


INTERVAL = 15.0
"""Seconds between two rounds. Worlds at once: three, on two cores."""

BACKWARD = ["revert-release", "restore-definitions", "abort-prepare"]
COMMITTED = {
    ("commit", "after"),
    *((step, moment) for step in ("invalidate", "verify") for moment in ("before", "after")),
}
CASES = {
    **{(step, moment): "old" for step in ["plan", *FORWARD, *BACKWARD] for moment in ("before", "after")},
    **dict.fromkeys([*COMMITTED, ("finish", "before"), ("finish", "after")], "new"),
}
"""Step and moment of the termination → where the cluster stands in the end."""


@dataclass
class Aftermath:
    """How a world looks when the record of the terminated update is closed."""

    definitions_before: dict[str, bytes]
    definitions: dict[str, bytes]
    contents_before: set[str]
    contents: set[str]
    versions: set[int | None]
    releases: list[Release]
    revisions_before: set[str]
    revisions: set[str]
    fenced: list[str]
    prepared: set[tuple[str, ...]]
    record: StoredRecord
    chain: list[str]
    seconds: float
    """From the termination to the end that the record gives."""


async def sealed(world: World, request_id: str) -> StoredRecord:
    """Wait until the record is closed and the fence is down."""
    async with asyncio.timeout(90):
        while True:
            try:
                stored = await read_record(world.cluster, world.namespace, request_id)
                if stored.sealed and not (await read_fence(world.cluster, world.namespace)).holders:
                    return stored
            except UnknownUpdate:
                pass
            await asyncio.sleep(0.2)


async def revisions(world: World) -> set[str]:
    return {each.name for each in await list_documents(world.cluster, world.namespace, type="definition")}


async def run_with_termination(stack: StackInfo, step: str, moment: str) -> Aftermath:
    async with create_world(stack, TOKEN_VARIABLE) as world, scheduled(world, INTERVAL):
        await world.start_worker()
        await world.replicas.start("gateway", 2)
        await world.replicas.start("dispatcher", 1)
        await world.update(library(1))
        definitions, contents, kept = await world.definitions(), world.replicas.contents(), await revisions(world)
        if step in BACKWARD:
            world.faults.fail("verify")
        hold = world.faults.hold(step, "before" if moment == "before" else "after")
        request_id = await world.submit(everything(), delete=[DELETED], request_id="the-update")
        await hold.reached.wait()
        terminated_at = datetime.now(UTC)
        await world.handle(request_id).terminate(reason="out of patience")
        stored = await sealed(world, request_id)
        assert stored.record.ended_at is not None
        return Aftermath(
            definitions_before=definitions,
            definitions=await world.definitions(),
            contents_before=contents,
            contents=world.replicas.contents(),
            versions=world.replicas.versions("EncoderTask"),
            releases=await list_releases(world.cluster, world.namespace),
            revisions_before=kept,
            revisions=await revisions(world),
            fenced=list((await read_fence(world.cluster, world.namespace)).data()),
            prepared={tuple(replica.agent.attest(None, full=False).prepared) for replica in world.replicas.running},
            record=stored,
            chain=await verify_records(world.cluster, world.namespace),
            seconds=(stored.record.ended_at - terminated_at).total_seconds(),
        )


@pytest.fixture(scope="module")
async def aftermaths(
    installed_stack: StackInfo,
) -> AsyncGenerator[dict[tuple[str, str], asyncio.Task[Aftermath]]]:
    """All terminations, a few at a time: each of them mostly waits for the next round."""
    at_once = asyncio.Semaphore(4)

    async def one(step: str, moment: str) -> Aftermath:
        async with at_once:
            return await run_with_termination(installed_stack, step, moment)

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(TOKEN_VARIABLE, TOKEN)
        tasks = {case: asyncio.create_task(one(*case)) for case in CASES}
        yield tasks
        for task in tasks.values():
            task.cancel()
        await asyncio.gather(*tasks.values(), return_exceptions=True)


@pytest.mark.parametrize(("step", "moment"), CASES)
async def test_all_old_or_all_new(
    aftermaths: dict[tuple[str, str], asyncio.Task[Aftermath]], step: str, moment: str
) -> None:
    after = await aftermaths[step, moment]
    record = after.record.record
    assert after.fenced == ["state.json", "digest"]
    assert after.prepared == {()}
    assert after.chain == []
    assert after.revisions >= after.revisions_before
    assert after.seconds <= 2 * INTERVAL
    assert len(after.contents) == 1
    assert after.contents == {after.releases[0].content_digest()}
    if CASES[step, moment] == "new":
        assert record.outcome == "completed", record.message
        assert after.versions == {2}
        assert after.definitions.keys() == {
            "TaskDefinition/encoder-task",
            "TaskDefinition/sketch-task",
            "TaskDefinition/ranker-task",
        }
    else:
        assert record.outcome == "rolled_back", record.message
        assert after.versions == {1}
        assert after.definitions == after.definitions_before
        assert after.contents == after.contents_before
    if (step, moment) != ("finish", "after"):
        assert "its workflow was terminated" in record.message
        assert "out of patience" in record.message
        assert "by the reconciler" in record.message
