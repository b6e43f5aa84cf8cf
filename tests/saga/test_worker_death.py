"""The worker is killed with SIGKILL, before or after the effect of a step: another one finishes the same update."""

import asyncio
import json
import os
import signal
import sys
from collections.abc import AsyncGenerator
from dataclasses import dataclass
from pathlib import Path

import pytest

from taskroll.cluster.documents import list_documents
from taskroll.cluster.records import list_records
from taskroll.cluster.releases import list_releases
from taskroll.devstack import StackInfo
from taskroll.models.policy import UpdatePolicy
from taskroll_agent.contracts import revision_name

from .replicas import TOKEN
from .sources import library
from .world import PATIENT, TOKEN_VARIABLE, World, create_world

STEPS = ["plan", "fence", "check", "stage", "prepare", "patch", "commit", "invalidate", "verify", "finish"]
STEPS_OF_LIVE = ["hold-calls", "commit", "release-calls"]
"""Those at which calls are held, with ``drain: live``."""
CASES = [*(("wait", step) for step in STEPS), *(("live", step) for step in STEPS_OF_LIVE)]
QUICK = {("wait", "patch"), ("wait", "commit"), ("live", "hold-calls")}
"""Those that the quick suite has too."""


async def start_process(world: World, step: str, moment: str, marker: Path, **more: str) -> asyncio.subprocess.Process:
    """Start a worker that kills itself there, once."""
    arguments = {
        **more,
        "task_queue": world.task_queue,
        "temporal_address": world.stack.temporal_address,
        "kubeconfig": str(world.stack.kubeconfig),
        "step": step,
        "moment": moment,
        "marker": str(marker),
        "token_variable": TOKEN_VARIABLE,
        **more,
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


@dataclass
class Aftermath:
    """How a world looks when another worker has finished the update."""

    died: bool
    outcome: str | None
    message: str
    releases: list[tuple[int, str]]
    revisions: list[str]
    plans: int
    definitions: set[str]
    versions: set[int | None]
    prepared: list[list[str]]
    holding: list[list[str]]
    records: list[tuple[str | None, bool]]


async def run_with_death(stack: StackInfo, drain: str, step: str, moment: str, folder: Path) -> Aftermath:
    marker = folder / f"{drain}-{step}-{moment}"
    policy = UpdatePolicy.model_validate(PATIENT.model_dump() | {"drain": drain})
    async with create_world(stack, TOKEN_VARIABLE) as world:
        await world.replicas.start("gateway", 2)
        await world.replicas.start("dispatcher", 1)
        first = await start_process(world, step, moment, marker)
        request_id = await world.submit(library(1), request_id="the-update", policy=policy)
        died = await first.wait() == -signal.SIGKILL
        second = await start_process(world, step, moment, marker)
        try:
            view = await world.ended(request_id)
        finally:
            second.terminate()
            await second.wait()
        cluster, namespace = world.cluster, world.namespace
        return Aftermath(
            died=died,
            outcome=view.status.outcome,
            message=view.status.message,
            releases=[(release.epoch, release.request_id) for release in await list_releases(cluster, namespace)],
            revisions=sorted(d.name for d in await list_documents(cluster, namespace, type="definition")),
            plans=len(await list_documents(cluster, namespace, type="plan")),
            definitions=set(await world.definitions()),
            versions=world.replicas.versions("EncoderTask"),
            prepared=[replica.agent.attest(None, full=False).prepared for replica in world.replicas.running],
            holding=[replica.agent.gate.holding for replica in world.replicas.running],
            records=[(stored.record.outcome, stored.sealed) for stored in await list_records(cluster, namespace)],
        )


def cases_to_run(session: pytest.Session) -> list[tuple[str, str, str]]:
    """Of all cases, those that were selected."""
    name = test_another_worker_finishes_the_update_and_each_effect_is_there_once.__name__
    calls = [
        item.callspec.params
        for item in session.items
        if isinstance(item, pytest.Function) and item.originalname == name
    ]
    return [(params["drain"], params["step"], params["moment"]) for params in calls]


@pytest.fixture(scope="module")
async def aftermaths(
    request: pytest.FixtureRequest, installed_stack: StackInfo, tmp_path_factory: pytest.TempPathFactory
) -> AsyncGenerator[dict[tuple[str, str, str], asyncio.Task[Aftermath]]]:
    """The deaths, a few at a time: each of them mostly waits for the server's time-outs."""
    folder = tmp_path_factory.mktemp("deaths")
    at_once = asyncio.Semaphore(5)

    async def one(drain: str, step: str, moment: str) -> Aftermath:
        async with at_once:
            return await run_with_death(installed_stack, drain, step, moment, folder)

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(TOKEN_VARIABLE, TOKEN)
        tasks = {case: asyncio.create_task(one(*case)) for case in cases_to_run(request.session)}
        yield tasks
        for task in tasks.values():
            task.cancel()
        await asyncio.gather(*tasks.values(), return_exceptions=True)


@pytest.mark.parametrize("moment", ["before", "after"])
@pytest.mark.parametrize(
    ("drain", "step"),
    [pytest.param(*case, marks=() if case in QUICK else pytest.mark.slow) for case in CASES],
)
async def test_another_worker_finishes_the_update_and_each_effect_is_there_once(
    aftermaths: dict[tuple[str, str, str], asyncio.Task[Aftermath]], drain: str, step: str, moment: str
) -> None:
    aftermath = await aftermaths[drain, step, moment]
    assert aftermath == Aftermath(
        died=True,
        outcome="completed",
        message="every replica attests the new release",
        releases=[(1, "the-update")],
        revisions=sorted(revision_name(content.key, content.digest()) for content in library(1)),
        plans=1,
        definitions={str(content.key) for content in library(1)},
        versions={1},
        prepared=[[], [], []],
        holding=[[], [], []],
        records=[("completed", True)],
    )
