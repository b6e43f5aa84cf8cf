"""Fixtures of the saga's tests, on the real stack."""

from collections.abc import AsyncGenerator

import pytest

from taskroll.cluster.connection import Cluster
from taskroll.cluster.kubeconfig import ClusterSettings
from taskroll.cluster.manifests import install
from taskroll.devstack import StackInfo

from .replicas import TOKEN
from .world import World, create_world

TOKEN_VARIABLE = "TASKROLL_TEST_AGENT_TOKEN"


@pytest.fixture(scope="session")
async def installed_stack(stack: StackInfo) -> StackInfo:
    """The stack, with the CRDs installed."""
    async with await Cluster.connect(ClusterSettings(kubeconfig=str(stack.kubeconfig), context="admin")) as cluster:
        await install(cluster, "taskroll-tests")
    return stack


@pytest.fixture
async def bare_world(installed_stack: StackInfo, monkeypatch: pytest.MonkeyPatch) -> AsyncGenerator[World]:
    """A world without a worker, where a test wants to start one of its own."""
    monkeypatch.setenv(TOKEN_VARIABLE, TOKEN)
    async with create_world(installed_stack, TOKEN_VARIABLE) as world:
        yield world


@pytest.fixture
async def world(bare_world: World) -> World:
    """A world with a worker, and two services of together five replicas that run version 1 of the library."""
    await bare_world.start_worker()
    await bare_world.replicas.start("gateway", 2)
    await bare_world.replicas.start("dispatcher", 3)
    return bare_world
