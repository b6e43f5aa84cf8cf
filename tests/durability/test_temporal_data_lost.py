"""Temporal's data folder is deleted after an update: what was done stays readable, and the next update works."""

import shutil
from pathlib import Path

import pytest

from taskroll.cluster.connection import Cluster
from taskroll.cluster.kubeconfig import ClusterSettings
from taskroll.cluster.manifests import install
from taskroll.devstack import DevStack
from tests.saga.replicas import TOKEN
from tests.saga.sources import library
from tests.saga.world import TOKEN_VARIABLE, create_world


async def test_history_versions_and_the_next_update(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(TOKEN_VARIABLE, TOKEN)
    data = tmp_path / "stack"
    with DevStack(data) as stack:
        async with await Cluster.connect(ClusterSettings(kubeconfig=str(stack.kubeconfig), context="admin")) as cluster:
            await install(cluster, "default")
        async with create_world(stack, TOKEN_VARIABLE) as world:
            await world.start_worker()
            await world.replicas.start("gateway", 2)
            await world.replicas.start("dispatcher", 1)
            view = await world.update(library(1), request_id="before", reason="before the loss")
            assert view.status.outcome == "completed", view.status.message
            namespace = world.namespace
    shutil.rmtree(data / "temporal")
    with DevStack(data) as stack:
        async with create_world(stack, TOKEN_VARIABLE, namespace=namespace) as world:
            await world.start_worker()
            await world.replicas.start("gateway", 2)
            await world.replicas.start("dispatcher", 1)
            assert world.replicas.versions("EncoderTask") == {1}
            history = await world.client.history()
            assert [(line.epoch, line.reason, line.requested_by) for line in history] == [
                (1, "before the loss", "tester")
            ]
            assert (await world.client.status("before")).status.outcome == "completed"
            assert (await world.client.versions()).is_uniform()
            again = await world.update(library(1), request_id="before")
            assert again.status.ended_at == view.status.ended_at
            assert (await world.update(library(2))).status.outcome == "completed"
            assert world.replicas.versions("EncoderTask") == {2}
