"""The fleet itself: what other tests build on."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Mapping

import pytest

from interop.addresses import HTTP_PORT
from interop.environment import LOGS
from interop.fleet import DISPATCHER, GATEWAY, RESOURCE_MANAGER, Fleet
from interop.library import CLASSES, duet_app, library
from interop.service import Service, ServiceFailed
from taskroll.devstack import StackInfo

ALL = (*CLASSES, "ScribeDescriptor")
STOCK = (GATEWAY, RESOURCE_MANAGER, f"{DISPATCHER}-0", f"{DISPATCHER}-1")


async def deploy(fleet: Fleet) -> None:
    await fleet.gateway.deploy(library(1))
    await fleet.until_loaded(ALL, 1)


async def app_works(fleet: Fleet) -> None:
    app = await fleet.gateway.register(duet_app())
    answers = await asyncio.gather(*(fleet.gateway.invoke(app, text="hello") for _ in range(6)))
    assert [answer["recorded_by"] for answer in answers] == [[1, 1]] * 6
    await fleet.gateway.unregister(app)


@pytest.mark.parametrize("name", STOCK)
async def test_a_killed_service_is_not_ready_and_works_again_after_its_restart(fleet: Fleet, name: str) -> None:
    await deploy(fleet)
    await app_works(fleet)
    before, pid = fleet[name].pod_uid, fleet[name].pid

    await fleet.kill(name)
    assert await fleet.ready_pods() == {other: other != name for other in STOCK}
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)

    await fleet.start(name)
    await fleet.until_loaded(ALL, 1)
    assert fleet[name].pod_uid == before
    assert await fleet.ready_pods() == dict.fromkeys(STOCK, True)
    await app_works(fleet)


async def test_a_restart_in_a_new_pod_has_another_uid(fleet: Fleet) -> None:
    before = fleet[GATEWAY].pod_uid

    await fleet.restart(GATEWAY, new_pod=True)

    assert fleet[GATEWAY].pod_uid != before
    assert await fleet.ready_pods() == dict.fromkeys(STOCK, True)


async def test_a_service_that_is_told_to_end_ends_in_order(fleet: Fleet) -> None:
    for name in STOCK:
        await fleet.stop(name)
        assert "Shutting down" in fleet[name].log_text()
    assert await fleet.ready_pods() == dict.fromkeys(STOCK, False)


async def test_two_fleets_side_by_side_know_nothing_of_each_other(fleet: Fleet, installed_stack: StackInfo) -> None:
    name = f"{fleet.namespace}-other"
    async with Fleet(installed_stack, name, LOGS / name) as other:
        await deploy(fleet)
        await app_works(fleet)
        assert [(await other.loaded(service.name)).versions for service in other.stock] == [{}] * 4


async def test_a_namespace_takes_one_fleet_after_another(installed_stack: StackInfo) -> None:
    name = f"in-turn-{os.getpid()}"
    for _ in range(2):
        async with Fleet(installed_stack, name, LOGS / name) as fleet:
            await deploy(fleet)
            await app_works(fleet)


async def test_calls_in_flight_can_be_held(fleet: Fleet) -> None:
    await deploy(fleet)
    app = await fleet.gateway.register(duet_app())
    await fleet.executor.hold()

    call = asyncio.create_task(fleet.gateway.invoke(app, text="hello"))
    async with asyncio.timeout(10):
        while await fleet.executor.waiting() < 2:
            await asyncio.sleep(0.01)
    assert not call.done()

    await fleet.executor.release()
    assert (await call)["version"] == 1


async def test_a_service_is_given_more_variables_and_the_pod_it_stands_for(installed_stack: StackInfo) -> None:
    def environment(service: Service) -> Mapping[str, str]:
        return {"TASKROLL_AGENT_POD_UID": service.pod_uid}

    name = f"variables-{os.getpid()}"
    async with Fleet(installed_stack, name, LOGS / name, environment=environment) as fleet:
        for service in fleet.stock:
            seen = await service.run("return os.environ['TASKROLL_AGENT_POD_UID']")
            assert seen == service.pod_uid != ""


async def test_an_address_that_is_taken_is_named(fleet: Fleet) -> None:
    await fleet.kill(GATEWAY)
    address = fleet[GATEWAY].address
    with (
        socket.create_server((address, HTTP_PORT)),
        pytest.raises(ServiceFailed, match=f"gateway cannot start: something listens on {address}:{HTTP_PORT} already"),
    ):
        await fleet.start(GATEWAY)


async def test_a_service_that_ends_before_it_listens_is_named_with_the_end_of_its_log(fleet: Fleet) -> None:
    await fleet.kill(RESOURCE_MANAGER)
    (fleet[RESOURCE_MANAGER].folder.parent / "token").unlink()
    with pytest.raises(
        ServiceFailed, match=r"(?s)resource-manager ended with code 1 before it listened.*Service token file"
    ):
        await fleet.start(RESOURCE_MANAGER)


async def test_code_that_fails_in_a_service_fails_the_test_with_its_traceback(fleet: Fleet) -> None:
    with pytest.raises(ServiceFailed, match=r"(?s)gateway: Traceback.*ZeroDivisionError"):
        await fleet[GATEWAY].run("return 1 / 0")
