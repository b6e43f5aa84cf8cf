"""Stock services without the agent, updated by strategy `restart`: real controllers make their pods."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncGenerator
from dataclasses import dataclass

import pytest

from interop.deployed_fleet import DeployedFleet
from interop.environment import LOGS
from interop.fleet import DISPATCHER, GATEWAY, RESOURCE_MANAGER
from interop.gateway import GatewayRefused
from interop.library import CLASSES, duet_app, library
from interop.platform_objects import CONTAINER
from taskroll.devstack import StackInfo
from taskroll.services.configuration_file import parse_services
from tests.rollout.deployments import Deployments, next_second
from tests.saga.test_adoption import adopt
from tests.saga.world import TOKEN_VARIABLE, World, create_world

from .test_adapter import changed, versions_in

pytestmark = pytest.mark.timeout(600)

FIRST_IMPORT = "from typing import Any, ClassVar"
ROLES = {DISPATCHER: 2, RESOURCE_MANAGER: 1, GATEWAY: 1}
SPECS = {
    # It listens before it has imported: whether it outlives that shows a moment later.
    DISPATCHER: {"minReadySeconds": 2},
    # A second one cannot start beside the first: it wants sidecars of the same names.
    RESOURCE_MANAGER: {"strategy": {"type": "Recreate"}},
}
ALL = (*CLASSES, "ScribeDescriptor")
SERVICES = """\
services:
  - name: task-dispatcher
    strategy: restart
    deployment: task-dispatcher
    discovery: {type: pods, labels: {app: task-dispatcher}}
    restart: {timeout: 90}
  - name: resource-manager
    strategy: restart
    deployment: resource-manager
    discovery: {type: pods, labels: {app: resource-manager}}
    order: 1
    restart: {timeout: 90}
  - name: gateway
    strategy: restart
    deployment: gateway
    discovery: {type: pods, labels: {app: gateway}}
    order: 2
    restart: {timeout: 90}
"""
"""The resource manager looks for the dispatchers once, when it starts: so these come first."""


@dataclass
class Platform:
    """Cornserve on Deployments, and a world with a worker around it."""

    world: World
    fleet: DeployedFleet
    deployments: Deployments

    async def call(self) -> set[int | None]:
        """The versions that a call of a fresh app meets on its way, from gateway to executor."""
        app = await self.fleet.gateway.register(duet_app())
        answer = await self.fleet.gateway.invoke(app, text="hello")
        await self.fleet.gateway.unregister(app)
        return versions_in(answer)

    async def run_version(self, version: int) -> None:
        """Assert that each service has every class in that version, and its own answers say so."""
        await self.fleet.look()
        await self.fleet.until_loaded(ALL, version)
        assert {role: len(self.fleet.of(role)) for role in ROLES} == ROLES
        await self.fleet.executor.forget()
        assert await self.call() == {version}
        received = await self.fleet.executor.received()
        assert [("tone" in one, one["unit"]) for one in received] == [(version == 2, version)] * 2


@pytest.fixture
async def platform(controlled: StackInfo) -> AsyncGenerator[Platform]:
    """Four stock services that run version 1, which is release 1."""
    services = parse_services(SERVICES, "services of the tests")
    async with create_world(controlled, TOKEN_VARIABLE, services=services) as world:
        deployments = Deployments(world.api, world.namespace)
        async with DeployedFleet(controlled, world.namespace, LOGS / world.namespace) as fleet:
            platform = Platform(world, fleet, deployments)
            await world.start_worker()
            async with asyncio.timeout(120):
                for role, replicas in ROLES.items():
                    await deployments.create(role, replicas, CONTAINER, **SPECS.get(role, {}))
            await fleet.gateway.deploy(library(1))
            await adopt(world)
            await platform.run_version(1)
            await next_second()
            yield platform
            for role in ROLES:
                await deployments.delete(role)


async def test_an_update_ends_with_all_replicas_on_version_2_and_a_rollback_on_version_1(platform: Platform) -> None:
    for version, epoch in ((2, 2), (1, 3)):
        before = platform.fleet.pods(*ROLES)

        change = {"definitions": library(2)} if version == 2 else {"definitions": [], "target_release": 1}
        view = await platform.world.update(request_id=f"to-{version}", **change)

        assert (view.status.outcome, view.status.epoch, view.status.replicas) == ("completed", epoch, 4), view.status
        await platform.run_version(version)
        assert not before & platform.fleet.pods(*ROLES)
        for role in ROLES:
            assert await platform.deployments.restarted_for(role) == f"to-{version}/{epoch}"


@pytest.mark.slow
async def test_a_version_that_ends_the_process_at_import_is_taken_back(platform: Platform) -> None:
    platform.world.connections.fleet.config = parse_services(
        SERVICES.replace("timeout: 90", "timeout: 30", 1), "services of the tests"
    )
    before = await platform.world.definitions()
    dispatchers, others = platform.fleet.pods(DISPATCHER), platform.fleet.pods(RESOURCE_MANAGER, GATEWAY)

    view = await platform.world.update(changed("DuetTask", FIRST_IMPORT, f"raise SystemExit(7)\n{FIRST_IMPORT}"))

    assert view.status.outcome == "rolled_back"
    assert "task-dispatcher: not complete within 30 s" in view.status.message
    assert re.search(r"CrashLoopBackOff|was restarted", view.status.message), view.status.message
    assert view.status.restored_byte_for_byte
    assert await platform.world.definitions() == before
    await platform.fleet.look()
    await platform.fleet.until_loaded(ALL, 1)
    assert not dispatchers & platform.fleet.pods(DISPATCHER), "made anew, from the restored definitions"
    assert others == platform.fleet.pods(RESOURCE_MANAGER, GATEWAY), "of a later order: never restarted"

    # A limit: the resource manager still has the dispatchers that it found when it started.
    with pytest.raises(GatewayRefused, match="Failed to deploy tasks"):
        await platform.call()
    await platform.deployments.restart(RESOURCE_MANAGER)
    await platform.run_version(1)


@pytest.mark.slow
async def test_a_version_that_fails_at_import_is_completed_without_its_class_until_it_is_rolled_back(
    platform: Platform,
) -> None:
    """A limit: Cornserve logs the failure and serves the rest, so its pods are ready."""
    view = await platform.world.update(changed("DuetTask", FIRST_IMPORT, f"raise RuntimeError\n{FIRST_IMPORT}"))

    assert view.status.outcome == "completed"
    await platform.fleet.look()
    await platform.fleet.until_loaded(["ScribeTask"], 2)
    for service in platform.fleet.stock:
        await service.until_logged("Failed to register task DuetTask")
        assert "DuetTask" not in (await platform.fleet.loaded(service.name)).versions

    view = await platform.world.update([], target_release=1)
    assert view.status.outcome == "completed"
    await platform.run_version(1)
