"""Temporal is restored from an older back-up: what the cluster says counts, not what a workflow remembers.

A is the moment of the back-up, B the moment at which Temporal is stopped and the back-up put back. One stack and one
restore for all situations, each in a namespace of its own.
"""

from __future__ import annotations

import asyncio
import shutil
import sqlite3
from collections.abc import AsyncGenerator, Awaitable, Iterable
from contextlib import AsyncExitStack, closing
from pathlib import Path
from typing import Any

import pytest
from temporalio.client import WorkflowFailureError
from temporalio.exceptions import ApplicationError
from temporalio.service import RPCError, RPCStatusCode

from taskroll.cluster.bounded import run_bounded
from taskroll.cluster.connection import Cluster
from taskroll.cluster.definitions import list_definitions
from taskroll.cluster.fence import read_fence
from taskroll.cluster.kubeconfig import ClusterSettings
from taskroll.cluster.manifests import install
from taskroll.cluster.records import read_record, verify_records
from taskroll.cluster.releases import current_release, list_releases
from taskroll.devstack import DevStack
from taskroll.models.names import recovery_workflow_id
from taskroll.models.status import UpdateStatus
from tests.saga.reconciling import reconcile
from tests.saga.replicas import TOKEN
from tests.saga.sources import library
from tests.saga.stand_in_gateway import stand_in_gateway
from tests.saga.world import QUICK, TOKEN_VARIABLE, World, create_world, services_config

from .backup_situations import FIRST, SITUATIONS, Carried, Situation, patient, shuts_an_app_down

pytestmark = pytest.mark.slow


def _back_up(database: Path, to: Path) -> None:
    with closing(sqlite3.connect(database)) as source, closing(sqlite3.connect(to)) as target:
        source.backup(target)


def _put_back(copy: Path, database: Path) -> None:
    for left in database.parent.glob(f"{database.name}*"):
        left.unlink()
    shutil.copy(copy, database)


@pytest.fixture(scope="module")
async def restored(tmp_path_factory: pytest.TempPathFactory) -> AsyncGenerator[dict[str, Carried]]:
    """All situations at B, with Temporal's data of A, and workers that have just started."""
    folder = tmp_path_factory.mktemp("restored")
    own = DevStack(folder / "stack")
    database, copy = folder / "stack" / "temporal" / "temporal.db", folder / "copy.db"
    with pytest.MonkeyPatch.context() as patch, own as stack:
        patch.setenv(TOKEN_VARIABLE, TOKEN)
        async with await Cluster.connect(ClusterSettings(kubeconfig=str(stack.kubeconfig), context="admin")) as cluster:
            await install(cluster, "default")
        async with AsyncExitStack() as exits:
            carried: dict[str, Carried] = {}
            for situation in SITUATIONS:
                world = await exits.enter_async_context(create_world(stack, TOKEN_VARIABLE))
                carried[situation.name] = Carried(world)
                if situation.a is shuts_an_app_down:
                    gateway = await exits.enter_async_context(stand_in_gateway(world.namespace, world.api))
                    await world.with_services(services_config(TOKEN_VARIABLE, gateway_url=gateway.url))
                    carried[situation.name].gateway = gateway
            await _each(_first_release(each) for each in carried.values())
            await _each(situation.a(carried[situation.name]) for situation in SITUATIONS)
            await asyncio.to_thread(_back_up, database, copy)
            await _each(situation.b(carried[situation.name]) for situation in SITUATIONS)
            for each in carried.values():
                assert each.world.worker is not None
                await each.world.worker.shutdown()
                each.at_b = await each.looks(FIRST)
            await asyncio.to_thread(own.stop_component, "temporal", kill=True)
            await asyncio.to_thread(_put_back, copy, database)
            await asyncio.to_thread(own.start_component, "temporal")
            await _each(each.world.start_worker() for each in carried.values())
            yield carried


async def _each(works: Iterable[Awaitable[Any]]) -> None:
    """A few at a time: with all at once replicas would miss deadlines."""
    async with asyncio.timeout(200):
        await run_bounded(list(works), _awaited, limit=6)


async def _awaited(work: Awaitable[Any]) -> Any:
    return await work


async def _first_release(carried: Carried) -> None:
    world = carried.world
    await world.start_worker()
    await world.replicas.start("gateway")
    await world.replicas.start("dispatcher")
    assert (await world.update(library(1), request_id="before", policy=patient(QUICK))).status.outcome == "completed"


@pytest.mark.parametrize("situation", SITUATIONS, ids=lambda situation: situation.name)
async def test_what_the_cluster_says_counts(restored: dict[str, Carried], situation: Situation) -> None:
    carried, end = restored[situation.name], situation.end
    world, namespace = carried.world, carried.world.namespace
    async with asyncio.timeout(60):
        await situation.then(carried)
        ended = await outcome_of_workflow(world) if situation.by_itself else None
        while not await all_quiet(world):
            await reconcile(world)
        ended = ended or await outcome_of_workflow(world)
    stored = await read_record(world.cluster, namespace, FIRST)
    assert stored.sealed
    assert stored.record.outcome == end.outcome, stored.record.message
    assert ended in (end.outcome, None)
    if situation.is_over:
        assert await carried.looks(FIRST) == carried.at_b
    await assert_all_run(world, end.version)
    assert len(await list_releases(world.cluster, namespace)) == end.releases
    assert await verify_records(world.cluster, namespace) == []
    assert (await world.client.status(FIRST)).status.outcome == end.outcome
    if carried.gateway is not None:
        for app in list(carried.gateway.apps):
            await carried.gateway.unregister(app)
    again = await world.update(library(9), policy=patient(QUICK))
    assert again.status.outcome == "completed", again.status.message
    await assert_all_run(world, 9)


async def assert_all_run(world: World, version: int) -> None:
    """Replicas, release and custom resources agree on it."""
    assert world.replicas.versions("EncoderTask") == world.replicas.versions("SketchTask") == {version}
    release = await current_release(world.cluster, world.namespace)
    live = await list_definitions(world.cluster, world.namespace)
    assert release is not None
    assert {key: found.entry.digest for key, found in live.items()} == release.digests()
    assert world.replicas.contents() == {release.content_digest()}


async def all_quiet(world: World) -> bool:
    """Whether no update is under way, by what the cluster says and by what runs."""
    fence = await read_fence(world.cluster, world.namespace)
    if fence.holders or fence.line:
        return False
    async for _ in world.temporal.list_workflows(
        f"TaskrollNamespace = '{world.namespace}' AND ExecutionStatus = 'Running'"
    ):
        return False
    return not any(replica.agent.attest(None, full=False).prepared for replica in world.replicas.running)


async def outcome_of_workflow(world: World) -> str | None:
    """How the workflow ended that Temporal has for the update, its recovery where there is one; None without any."""
    for workflow_id in (recovery_workflow_id(world.namespace, FIRST), world.handle(FIRST).id):
        handle = world.temporal.get_workflow_handle(workflow_id, result_type=UpdateStatus)
        try:
            return (await handle.result()).outcome
        except WorkflowFailureError as error:
            if not isinstance(error.cause, ApplicationError):
                return f"failed: {error.cause!r} {error.cause.__cause__ if error.cause else ''}"
            return "rolled_back" if error.cause.type == "RolledBack" else error.cause.message
        except RPCError as error:
            if error.status != RPCStatusCode.NOT_FOUND:
                raise
    return None
