"""What every test may ask for: the real stack, and a world on it."""

from __future__ import annotations

import os
import signal
from collections.abc import AsyncGenerator, Iterator
from pathlib import Path

import pytest

from taskroll.cluster.connection import Cluster
from taskroll.cluster.kubeconfig import ClusterSettings
from taskroll.cluster.manifests import install
from taskroll.devstack import DevStack, StackInfo, running_stack
from tests.saga.replicas import TOKEN
from tests.saga.world import TOKEN_VARIABLE, World, create_world


def pytest_configure() -> None:
    """Give the processes that tests start what a shell on a desk would.

    A shell without job control starts what it puts in the background with SIGINT ignored, and children inherit that.
    Where Python keeps no bytecode, each of the hundreds of commands would compile the project anew.
    """
    signal.signal(signal.SIGINT, signal.default_int_handler)
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)


@pytest.fixture(scope="session")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[StackInfo]:
    """Temporal, etcd and kube-apiserver, started once for all tests, gone with the session.

    `TASKROLL_TEST_STACK=<path of a stack.json>` names one that runs already; it is used and left running.
    """
    if named := os.environ.get("TASKROLL_TEST_STACK"):
        running = running_stack(Path(named).parent)
        if running is None:
            pytest.fail(f"TASKROLL_TEST_STACK={named}: no stack runs there")
        yield running
        return
    with DevStack(tmp_path_factory.mktemp("stack")) as started:
        yield started


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
