"""A service without the agent, told by strategy `webhook`, beside one that has it: both move, or neither."""

import json
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import pytest
from aiohttp import web
from kubernetes.aio.client import AppsV1Api
from kubernetes.aio.client.exceptions import ApiException

from examples.webhook.receiver import Receiver, Refused
from taskroll.cluster.fence import read_fence
from taskroll.cluster.releases import read_pointer
from taskroll.services.configuration_file import parse_services
from taskroll_agent.contracts import content_digest

from .replicas import PORT, TOKEN
from .sources import library
from .world import QUICK, TOKEN_VARIABLE, World

BRIEF = QUICK.model_copy(update={"verify_timeout": 2})
NEW, BACK = 2, 3
"""The epoch of the update, and that of the way back."""

SERVICES = """\
services:
  - name: gateway
    discovery: {{type: pods, labels: {{app: gateway}}}}
    strategy: agent
    port: {port}
    token: {{env: {token}}}
  - name: rules
    discovery: {{type: static, addresses: {addresses}}}
    strategy: webhook
    token: {{env: {token}}}
    order: 1
"""


class Moody(Receiver):
    """The reference receiver, and ways to be out of order in one call of an update."""

    fault: str = ""

    async def prepare(self, call: dict[str, Any]) -> dict[str, Any]:
        if self.fault != "prepare":
            return await super().prepare(call)
        problem = {"definition": next(iter(call["definitions"])), "module": "rules", "error": "RuleError"}
        return {
            "request_id": call["request_id"],
            "prepared": False,
            "content_digest": None,
            "problems": [{**problem, "message": "no rule for it"}],
        }

    async def invalidate(self, call: dict[str, Any]) -> dict[str, Any]:
        if self.fault == "invalidate":
            self.fault = ""
            raise Refused("not_loadable", "out of order")
        return await super().invalidate(call)

    async def attest(self, call: dict[str, Any]) -> dict[str, Any]:
        said = await super().attest(call)
        lies = self.fault == "attest" and self.epoch == NEW
        return {**said, "content_digest": content_digest({})} if lies else said


@asynccontextmanager
async def receivers(world: World, count: int) -> AsyncGenerator[list[Moody]]:
    """Receivers that read revisions from the API server; the world's workers know them as the service `rules`."""

    async def read(namespace: str, name: str) -> dict[str, Any]:
        try:
            found: Any = await AppsV1Api(world.api).read_namespaced_controller_revision(name, namespace)
        except ApiException as error:
            raise LookupError(f"{name}: {error.reason}") from error
        return found.data

    async with AsyncExitStack() as exits:
        some = [Moody(TOKEN, read) for _ in range(count)]
        addresses: list[str] = []
        for receiver in some:
            runner = web.AppRunner(receiver.app(), access_log=None)
            exits.push_async_callback(runner.cleanup)
            await runner.setup()
            await web.TCPSite(runner, "127.0.0.1", 0).start()
            addresses.append(f"127.0.0.1:{runner.addresses[0][1]}")
        text = SERVICES.format(port=PORT, token=TOKEN_VARIABLE, addresses=json.dumps(addresses))
        await world.with_services(parse_services(text, "services of the tests"))
        yield some


@pytest.fixture
async def rules(bare_world: World) -> AsyncGenerator[list[Moody]]:
    async with receivers(bare_world, 2) as some:
        await bare_world.start_worker()
        await bare_world.replicas.start("gateway", 2)
        first = await bare_world.update(library(1))
        assert first.status.outcome == "completed", first.status.message
        yield some


def contents(world: World, rules: list[Moody]) -> set[str]:
    return world.replicas.contents() | {content_digest(receiver.current.digests) for receiver in rules}


async def test_both_services_move(bare_world: World, rules: list[Moody]) -> None:
    before = contents(bare_world, rules)
    view = await bare_world.update(library(2))
    assert (view.status.outcome, view.status.replicas) == ("completed", 4), view.status.message
    pointer = await read_pointer(bare_world.cluster, bare_world.namespace)
    assert pointer is not None
    assert contents(bare_world, rules) == {pointer.content_digest} != before
    assert [receiver.prepared for receiver in rules] == [{}, {}]


@pytest.mark.parametrize(
    ("fault", "said", "epoch"),
    [
        ("prepare", "RuleError", 1),
        ("invalidate", "out of order", BACK),
        ("attest", "content", BACK),
    ],
)
async def test_neither_moves_where_one_receiver_fails(
    bare_world: World, rules: list[Moody], fault: str, said: str, epoch: int
) -> None:
    before, definitions = contents(bare_world, rules), await bare_world.definitions()
    rules[1].fault = fault
    view = await bare_world.update(library(2), policy=BRIEF)
    assert view.status.outcome == "rolled_back", view.status.message
    assert said in view.status.message
    assert contents(bare_world, rules) == before
    assert await bare_world.definitions() == definitions
    assert {receiver.epoch for receiver in rules} == {epoch}
    assert [receiver.prepared for receiver in rules] == [{}, {}]
    assert not (await read_fence(bare_world.cluster, bare_world.namespace)).holders
