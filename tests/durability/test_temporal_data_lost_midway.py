"""Temporal's data folder is deleted amid an update: the reconciler finishes it from what is in the cluster."""

import shutil
from pathlib import Path
from typing import Literal

import pytest

from taskroll.cluster.connection import Cluster
from taskroll.cluster.fence import read_fence
from taskroll.cluster.kubeconfig import ClusterSettings
from taskroll.cluster.manifests import install
from taskroll.devstack import DevStack
from tests.saga.reconciling import reconcile, recovered
from tests.saga.replicas import TOKEN
from tests.saga.sources import library
from tests.saga.world import TOKEN_VARIABLE, create_world

pytestmark = pytest.mark.slow


@pytest.mark.parametrize(
    ("step", "outcome", "version"), [("patch", "rolled_back", 1), ("commit", "completed", 2)], ids=["patch", "commit"]
)
async def test_all_old_or_all_new(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    step: Literal["patch", "commit"],
    outcome: str,
    version: int,
) -> None:
    monkeypatch.setenv(TOKEN_VARIABLE, TOKEN)
    data = tmp_path / "stack"
    with DevStack(data) as stack:
        async with await Cluster.connect(ClusterSettings(kubeconfig=str(stack.kubeconfig), context="admin")) as cluster:
            await install(cluster, "default")
        async with create_world(stack, TOKEN_VARIABLE) as world:
            await world.start_worker()
            await world.replicas.start("gateway", 2)
            await world.replicas.start("dispatcher", 1)
            await world.update(library(1))
            definitions = await world.definitions()
            hold = world.faults.hold(step, "after")
            await world.submit(library(2), request_id="midway")
            await hold.reached.wait()
            assert await world.definitions() != definitions
            namespace = world.namespace
    shutil.rmtree(data / "temporal")
    with DevStack(data) as stack:
        async with create_world(stack, TOKEN_VARIABLE, namespace=namespace) as world:
            await world.start_worker()
            await world.replicas.start("gateway", 2)
            await world.replicas.start("dispatcher", 1)
            assert (await reconcile(world)).recovering == ["midway"]
            await recovered(world, "midway")
            view = await world.client.status("midway")
            assert view.status.outcome == outcome, view.status.message
            assert "Temporal no longer has its workflow" in view.status.message
            assert world.replicas.versions("EncoderTask") == {version}
            assert (await world.definitions() == definitions) is (version == 1)
            assert not (await read_fence(world.cluster, namespace)).holders
            assert (await world.update(library(3))).status.outcome == "completed"
