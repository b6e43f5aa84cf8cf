"""What a round of the reconciler costs does not grow with the updates that have ended."""

from __future__ import annotations

import asyncio
from collections import Counter
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime

import pytest

from taskroll.cluster.connection import Cluster
from taskroll.cluster.records import list_open_records, list_records, open_record, seal_record
from taskroll.cluster.transport import Call, Reply, Transport
from taskroll.models.record import UpdateRecord

from .reconciling import reconcile, recovered
from .sources import library
from .world import World


@dataclass
class Counted:
    """A transport that counts what is asked, and the bytes of the answers."""

    inner: Transport
    calls: list[Call] = field(default_factory=list[Call])
    received: int = 0

    async def send(self, call: Call, seconds: float) -> Reply:
        self.calls.append(call)
        reply = await self.inner.send(call, seconds)
        self.received += len(reply.body)
        return reply

    async def close(self) -> None: ...

    def forget(self) -> None:
        self.calls, self.received = [], 0

    def asked(self) -> Counter[tuple[str, str]]:
        return Counter((call.verb, call.kind) for call in self.calls)


@pytest.fixture
async def counted(bare_world: World) -> Counted:
    """Of a world's worker."""
    counted = Counted(bare_world.cluster.transport)
    cluster = Cluster(counted, request_timeout=10)
    bare_world.connections = replace(bare_world.connections, cluster=cluster)
    await bare_world.start_worker()
    await bare_world.replicas.start("gateway")
    await bare_world.replicas.start("dispatcher")
    assert (await bare_world.update(library(1))).status.outcome == "completed"
    return counted


def record(world: World, number: int) -> UpdateRecord:
    return UpdateRecord(
        request_id=f"past-{number}",
        namespace=world.namespace,
        request_digest="sha256:" + "0" * 64,
        workflow_id=f"task-update/{world.namespace}/past-{number}",
        requested_by="tester",
        phase="ended",
        outcome="completed",
        started_at=datetime.now(UTC),
        message="x" * 200,
    )


async def cost_of_a_round(world: World, counted: Counted) -> tuple[Counter[tuple[str, str]], int]:
    counted.forget()
    report = await reconcile(world)
    assert (report.recovering, report.live) == ([], 0)
    return counted.asked(), counted.received


async def test_round_with_and_without_a_history(bare_world: World, counted: Counted) -> None:
    await cost_of_a_round(bare_world, counted)
    few = await cost_of_a_round(bare_world, counted)
    for number in range(150):
        await seal_record(bare_world.cluster, record(bare_world, number))
    many = await cost_of_a_round(bare_world, counted)
    assert few[0] == many[0] == {("read", "ConfigMap"): 1, ("list", "TaskUpdate"): 1}
    assert many[1] < few[1] + 100, "a list says its resourceVersion, which has more digits by now"
    assert len(await list_records(bare_world.cluster, bare_world.namespace)) == 151


async def test_terminated_update_that_has_ended_is_looked_up_once(bare_world: World, counted: Counted) -> None:
    hold = bare_world.faults.hold("plan")
    request_id = await bare_world.submit(library(2))
    await hold.reached.wait()
    await bare_world.handle(request_id).terminate()
    async with asyncio.timeout(30):
        while request_id not in (await reconcile(bare_world)).recovering:
            await asyncio.sleep(0.05)
    await recovered(bare_world, request_id)
    await cost_of_a_round(bare_world, counted)
    asked, _ = await cost_of_a_round(bare_world, counted)
    assert ("read", "TaskUpdate") not in asked


async def test_open_record_among_many(bare_world: World, counted: Counted) -> None:
    for number in range(3):
        await seal_record(bare_world.cluster, record(bare_world, number))
    await open_record(bare_world.cluster, record(bare_world, 7).model_copy(update={"phase": "draining"}))
    counted.forget()
    found = await list_open_records(bare_world.connections.cluster, bare_world.namespace)
    assert [each.request_id for each in found] == ["past-7"]
    assert counted.asked() == {("list", "TaskUpdate"): 1}


async def test_api_server_that_cannot_select_them(bare_world: World, counted: Counted) -> None:
    """Its CRD is of an earlier taskroll: asked for a field that it does not select by, it refuses."""
    await open_record(bare_world.cluster, record(bare_world, 7).model_copy(update={"phase": "draining"}))

    class Elsewhere(Counted):
        async def send(self, call: Call, seconds: float) -> Reply:
            if "fieldSelector" in call.query:
                call = replace(call, query={**call.query, "fieldSelector": "status.none="})
            return await super().send(call, seconds)

    other = Elsewhere(bare_world.cluster.transport)
    found = await list_open_records(Cluster(other, request_timeout=10), bare_world.namespace)
    assert [each.request_id for each in found] == ["past-7"]
    assert other.asked() == {("list", "TaskUpdate"): 2}
