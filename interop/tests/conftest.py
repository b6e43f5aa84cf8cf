"""The stack of the main suite, and a fleet of stock services on it for each test that asks for one."""

from __future__ import annotations

import secrets
from collections.abc import AsyncGenerator

import pytest

from interop.adapted import adapted_fleet, services_of_cornserve
from interop.direct import DirectUpdate
from interop.environment import LOGS
from interop.fleet import Fleet
from taskroll.devstack import StackInfo
from tests.conftest import installed_stack, pytest_configure, stack
from tests.rollout.conftest import controlled, controlled_stack
from tests.saga.replicas import TOKEN
from tests.saga.world import TOKEN_VARIABLE, World, create_world

__all__ = ["controlled", "controlled_stack", "installed_stack", "pytest_configure", "stack"]


@pytest.fixture
async def fleet(installed_stack: StackInfo) -> AsyncGenerator[Fleet]:
    """Gateway, resource manager and two task dispatchers, without the agent."""
    namespace = f"cornserve-{secrets.token_hex(4)}"
    async with Fleet(installed_stack, namespace, LOGS / namespace) as started:
        yield started


@pytest.fixture
async def cornserve_world(installed_stack: StackInfo, monkeypatch: pytest.MonkeyPatch) -> AsyncGenerator[World]:
    """A world with a worker, whose services are those of a fleet that carries the agent."""
    monkeypatch.setenv(TOKEN_VARIABLE, TOKEN)
    async with create_world(installed_stack, TOKEN_VARIABLE, services=services_of_cornserve()) as world:
        await world.start_worker()
        yield world


@pytest.fixture
async def adapted(cornserve_world: World) -> AsyncGenerator[Fleet]:
    """The fleet of `cornserve_world`, with the agent in each service. Nothing is deployed yet."""
    async with adapted_fleet(cornserve_world) as started:
        yield started


@pytest.fixture
async def direct(cornserve_world: World, adapted: Fleet) -> AsyncGenerator[DirectUpdate]:
    """Updates by the agents' own calls."""
    update = DirectUpdate.of(cornserve_world, adapted)
    yield update
    await update.client.aclose()
