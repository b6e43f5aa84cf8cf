"""The worker is killed with SIGKILL, before or after the effect of a step: another one finishes the same update."""

import asyncio
import json
import os
import signal
import sys
from collections import Counter
from pathlib import Path

import pytest

from taskroll.cluster.documents import list_documents
from taskroll.cluster.records import list_records
from taskroll.cluster.releases import list_releases
from taskroll_agent.contracts import revision_name

from .sources import library
from .world import TOKEN_VARIABLE, World

STEPS = ["plan", "fence", "check", "stage", "prepare", "patch", "commit", "invalidate", "verify", "finish"]


async def start_process(world: World, step: str, moment: str, marker: Path) -> asyncio.subprocess.Process:
    arguments = {
        "task_queue": world.task_queue,
        "temporal_address": world.stack.temporal_address,
        "kubeconfig": str(world.stack.kubeconfig),
        "step": step,
        "moment": moment,
        "marker": str(marker),
        "token_variable": TOKEN_VARIABLE,
    }
    return await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "tests.saga.dying_worker",
        json.dumps(arguments),
        env=os.environ,
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.DEVNULL,
    )


@pytest.mark.parametrize("moment", ["before", "after"])
@pytest.mark.parametrize("step", STEPS)
async def test_another_worker_finishes_the_update(bare_world: World, tmp_path: Path, step: str, moment: str) -> None:
    world, marker = bare_world, tmp_path / "died"
    await world.replicas.start("gateway", 2)
    await world.replicas.start("dispatcher", 1)
    first = await start_process(world, step, moment, marker)
    request_id = await world.submit(library(1))
    assert await first.wait() == -signal.SIGKILL
    second = await start_process(world, step, moment, marker)
    try:
        view = await world.ended(request_id)
    finally:
        second.terminate()
        await second.wait()
    assert view.status.outcome == "completed", view.status.message
    # Each effect is there, and once.
    releases = await list_releases(world.cluster, world.namespace)
    assert [(release.epoch, release.request_id) for release in releases] == [(1, request_id)]
    stored = Counter(
        document.name for document in await list_documents(world.cluster, world.namespace, type="definition")
    )
    assert stored == Counter(revision_name(content.key, content.digest()) for content in library(1))
    plans = await list_documents(world.cluster, world.namespace, type="plan")
    assert len(plans) == 1
    assert set(await world.definitions()) == {str(content.key) for content in library(1)}
    assert world.replicas.versions("EncoderTask") == {1}
    assert [replica.agent.attest(None, full=False).prepared for replica in world.replicas.running] == [[]] * 3
    records = await list_records(world.cluster, world.namespace)
    assert [(stored.record.outcome, stored.sealed) for stored in records] == [("completed", True)]
