"""The example's services on the example's library, released in memory."""

from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any

import httpx
import pytest

from examples.child_processes import ROOT
from examples.service import WORK, create_app
from taskroll.tasklib.discovery import discover
from taskroll_agent import Agent, AgentSettings
from taskroll_agent.memory_cluster import MemoryCluster

LIBRARY = ROOT / "examples" / "tasklib"


@pytest.fixture
async def cluster() -> MemoryCluster:
    return MemoryCluster()


@pytest.fixture
async def agent(cluster: MemoryCluster, monkeypatch: pytest.MonkeyPatch) -> AsyncGenerator[Agent]:
    monkeypatch.syspath_prepend(str(ROOT / "examples" / "taskbase"))
    settings = AgentSettings.from_env({}, kube_url="http://unused", token="t", pod="replica-0")
    async with Agent(settings, cluster=cluster) as running:
        yield running
    running.registry.close()


async def release(cluster: MemoryCluster, agent: Agent, version: str) -> None:
    contents = discover(LIBRARY / version / "sketchlib").contents()
    pointer = cluster.write_release(cluster.add(*contents), request_id=f"release-{version}")
    await agent.activate(_order(pointer))
    cluster.move(pointer)


def _order(pointer: Any) -> Any:
    from taskroll_agent.contracts import ActivateRequest

    return ActivateRequest.model_validate(pointer.model_dump())


async def call(agent: Agent, service: str) -> httpx.Response:
    app = create_app(agent, WORK[service])
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://service") as client:
        return await client.post("/call", json={"text": "a word and another"})


@pytest.mark.parametrize("service", sorted(WORK))
@pytest.mark.parametrize(("version", "encoder"), [("v1", 1), ("v2", 2)])
async def test_each_service_says_which_versions_computed_its_answer(
    cluster: MemoryCluster, agent: Agent, service: str, version: str, encoder: int
) -> None:
    await release(cluster, agent, version)
    response = await call(agent, service)
    assert response.status_code == 200, response.text
    assert response.json()["pod"] == "replica-0"
    assert response.json()["versions"]["encoder"] == encoder


async def test_a_gateway_answers_by_one_version(cluster: MemoryCluster, agent: Agent) -> None:
    await release(cluster, agent, "v1")
    await release(cluster, agent, "v2")
    assert (await call(agent, "gateway")).json()["versions"] == {"composite": 2, "encoder": 2, "writer": 1}


async def test_before_the_first_release_a_service_is_not_available(agent: Agent) -> None:
    assert (await call(agent, "gateway")).status_code == 503


def test_the_library_is_where_the_demo_looks_for_it() -> None:
    assert [path.name for path in sorted(Path(LIBRARY).glob("v*"))] == ["v1", "v2", "v3-broken"]
