"""Strategy ``webhook``: the reference receiver keeps the contract, and each breach of it is found."""

import asyncio
import base64
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from typing import Any

import pytest
from aiohttp import web
from pydantic import SecretStr

from examples.webhook.receiver import Receiver
from taskroll.cluster.connection import Cluster
from taskroll.services.agent_calls import AgentCalls
from taskroll.services.attest import attest_all
from taskroll.services.configuration import ServicesConfig
from taskroll.services.deadline import Deadline
from taskroll.services.expectation import Expectation
from taskroll.services.fleet import Fleet
from taskroll.services.invalidate import invalidate
from taskroll.services.prepare import prepare
from taskroll.services.verify import verify
from taskroll.services.webhook_conformance import CHECKS, findings
from taskroll_agent.contracts import (
    ActivateRequest,
    DefinitionContent,
    PrepareRequest,
    Release,
    ReleaseEntry,
    content_digest,
    release_name,
    revision_name,
)

from .conftest import NoCluster
from .stand_in import STARTED_AT, TOKEN


def encoder(source: str) -> DefinitionContent:
    spec = {"moduleName": "tasks.encoder", "sourceCode": base64.b64encode(source.encode()).decode()}
    return DefinitionContent(kind="TaskDefinition", name="encoder", spec=spec)


GOOD, BAD = encoder("VERSION = 2\n"), encoder("VERSION = \n")
KEY = str(GOOD.key)
RELEASE = Release(
    epoch=2,
    request_id="r1",
    origin="update",
    previous=None,
    created_at=STARTED_AT,
    requested_by="tester",
    reason="",
    definitions={KEY: ReleaseEntry(digest=GOOD.digest())},
)
NAME = release_name(2, "r1")
STORED = {NAME: RELEASE.model_dump(mode="json")} | {
    revision_name(content.key, content.digest()): content.model_dump(mode="json") for content in (GOOD, BAD)
}
ACTIVATE = ActivateRequest(request_id="r1", epoch=2, release=NAME, content_digest=RELEASE.content_digest())


async def read(namespace: str, name: str) -> dict[str, Any]:
    assert namespace == "ns"
    return STORED[name]


@dataclass
class Running:
    receiver: Receiver
    fleet: Fleet
    url: str


Start = Callable[[Receiver], Awaitable[Running]]


@pytest.fixture
async def start(calls: AgentCalls) -> AsyncIterator[Start]:
    runners: list[web.AppRunner] = []

    async def run(receiver: Receiver) -> Running:
        runner = web.AppRunner(receiver.app(), access_log=None)
        runners.append(runner)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        address = f"127.0.0.1:{runner.addresses[0][1]}"
        service = {
            "name": "rules",
            "strategy": "webhook",
            "discovery": {"type": "static", "addresses": [address]},
            "token": {"env": "TASKROLL_AGENT_TOKEN"},
        }
        config = ServicesConfig.model_validate({"services": [service]})
        return Running(receiver, Fleet(config, Cluster(NoCluster()), calls), f"http://{address}/taskroll")

    yield run
    for runner in runners:
        await runner.cleanup()


async def test_an_update_of_the_reference_receiver(start: Start) -> None:
    running = await start(Receiver(TOKEN, read))
    request = PrepareRequest(request_id="r1", definitions={KEY: GOOD.digest()})
    prepared = await prepare(running.fleet, "ns", request, Deadline.after(10))
    assert (prepared.is_prepared, prepared.content_digests) == (True, {content_digest({KEY: GOOD.digest()}): 1})
    assert running.receiver.epoch == 0

    assert (await invalidate(running.fleet, "ns", ACTIVATE, Deadline.after(10))).activated == 1
    assert (await invalidate(running.fleet, "ns", ACTIVATE, Deadline.after(10))).already_active == 1

    expectation = Expectation(epoch=2, content_digest=RELEASE.content_digest())
    verified = await verify(running.fleet, "ns", expectation, Deadline.after(10))
    assert (verified.is_attested, verified.replicas, verified.mixed_version_window_ms) == (True, 1, None)
    attested = await attest_all(running.fleet, "ns", Deadline.after(10))
    assert attested.contents == {RELEASE.content_digest(): {KEY: GOOD.digest()}}


async def test_what_the_receiver_cannot_load_is_named_in_prepare(start: Start) -> None:
    running = await start(Receiver(TOKEN, read))
    request = PrepareRequest(request_id="r1", definitions={KEY: BAD.digest()})
    outcome = await prepare(running.fleet, "ns", request, Deadline.after(10))
    (problem,) = outcome.problems
    assert (problem.definitions, problem.error) == ([KEY], "SyntaxError")


async def test_a_receiver_with_another_token_is_named(start: Start) -> None:
    running = await start(Receiver("another-token", read))
    outcome = await invalidate(running.fleet, "ns", ACTIVATE, Deadline.after(10))
    assert [problem.reason for problem in outcome.problems] == ["unauthorised"]


async def conform(running: Running) -> dict[str, str | None]:
    return await asyncio.to_thread(lambda: dict(findings(running.url, SecretStr(TOKEN), "ns")))


@pytest.mark.parametrize("epoch", [0, 2])
async def test_the_reference_receiver_conforms(start: Start, epoch: int) -> None:
    running = await start(Receiver(TOKEN, read))
    if epoch:
        await invalidate(running.fleet, "ns", ACTIVATE, Deadline.after(10))
    assert await conform(running) == {check.__name__: None for check in CHECKS}


class Trusting(Receiver):
    def _is_signed(self, request: web.Request, body: bytes) -> bool:
        return True


class Forgetful(Receiver):
    async def attest(self, call: dict[str, Any]) -> dict[str, Any]:
        return {**await super().attest(call), "nonce": "n"}


class Untruthful(Receiver):
    async def attest(self, call: dict[str, Any]) -> dict[str, Any]:
        return {**await super().attest(call), "content_digest": RELEASE.content_digest()}


class Careless(Receiver):
    async def prepare(self, call: dict[str, Any]) -> dict[str, Any]:
        return {"request_id": call["request_id"], "prepared": True}


class Obedient(Receiver):
    async def invalidate(self, call: dict[str, Any]) -> dict[str, Any]:
        self.epoch = call["epoch"]
        return {"epoch": self.epoch, "content_digest": call["content_digest"], "already_active": False}


class Proud(Receiver):
    async def abort(self, call: dict[str, Any]) -> dict[str, Any]:
        return {"dropped": True}


BREACHES = [
    (Trusting, {"refuses_a_call_without_signature", "refuses_a_wrong_signature", "refuses_an_old_call"}),
    (
        Forgetful,
        {
            "attests_with_the_nonce_of_each_question",
            "attests_a_content_digest_that_fits_its_definitions",
            "refuses_a_release_that_it_cannot_load_and_stays_as_it_is",
            "refuses_a_lower_epoch",
        },
    ),
    (Untruthful, {"attests_a_content_digest_that_fits_its_definitions"}),
    (Careless, {"does_not_prepare_what_it_cannot_load"}),
    (Obedient, {"refuses_a_release_that_it_cannot_load_and_stays_as_it_is", "refuses_a_lower_epoch"}),
    (Proud, {"aborts_what_it_never_prepared"}),
]


@pytest.mark.parametrize(("kind", "broken"), BREACHES, ids=[kind.__name__ for kind, _ in BREACHES])
async def test_a_breach_of_the_contract_is_found(start: Start, kind: type[Receiver], broken: set[str]) -> None:
    running = await start(kind(TOKEN, read, epoch=2))
    assert {name for name, finding in (await conform(running)).items() if finding} == broken
