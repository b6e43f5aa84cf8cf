"""The verbs with the real `taskroll_agent` behind uvicorn, over real sockets; only the releases are in memory."""

import asyncio
import contextlib
import json
import os
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import dataclass

import pytest
import uvicorn

from taskroll.services.abort import abort_prepared
from taskroll.services.attest import attest_all
from taskroll.services.deadline import Deadline
from taskroll.services.expectation import Expectation
from taskroll.services.fleet import Fleet
from taskroll.services.invalidate import invalidate
from taskroll.services.prepare import prepare
from taskroll.services.verify import verify
from taskroll_agent import Agent
from taskroll_agent.asgi import standalone_app
from taskroll_agent.contracts import (
    AbortRequest,
    ActivateRequest,
    Attestation,
    PrepareRequest,
    ReleasePointer,
    content_digest,
)
from taskroll_agent.memory_cluster import MemoryCluster, task_definition
from taskroll_agent.settings import AgentSettings

from .agent_process import agent_process
from .rounds import Rounds
from .stand_in import TOKEN

Make = Callable[..., Fleet]


class Server(uvicorn.Server):
    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield  # several servers live in this process: none of them may take its signals


@dataclass
class Running:
    agent: Agent
    server: Server
    serving: asyncio.Task[None]
    address: str

    async def stop(self) -> None:
        self.server.should_exit = True
        await self.serving


@pytest.fixture
def releases() -> MemoryCluster:
    cluster = MemoryCluster()
    cluster.commit_sources(sources(1), request_id="first")
    return cluster


@pytest.fixture
async def start(releases: MemoryCluster) -> AsyncIterator[Callable[..., Awaitable[Running]]]:
    """Starts an agent in a server of its own, on a loopback address of its own."""
    running: list[Running] = []

    async def start_one(*, host: str = "", port: int = 0, token: str = TOKEN) -> Running:
        number = len(running)
        settings = AgentSettings(
            namespace="ns", kube_url="http://in-memory", token=token, pod=f"pod-{number}", pod_uid=f"uid-{number}"
        )
        agent = Agent(settings, cluster=releases)
        listening = socket.create_server((host or f"127.0.2.{number + 1}", port))
        server = Server(uvicorn.Config(standalone_app(agent), log_level="warning", lifespan="on"))
        serving = asyncio.create_task(server.serve(sockets=[listening]))
        while not server.started:
            if serving.done():
                await serving
            await asyncio.sleep(0.001)
        name, number = listening.getsockname()[:2]
        running.append(Running(agent, server, serving, f"{name}:{number}"))
        return running[-1]

    yield start_one
    await asyncio.gather(*(one.stop() for one in running))


def sources(version: int) -> dict[str, str]:
    return {
        "tasklib.encoder.Encoder": f"class Encoder:\n    version = {version}\n",
        "tasklib.llm.Llm": "from tasklib.encoder import Encoder\n\n\nclass Llm:\n    encoder = Encoder\n",
    }


def contents(version: int) -> dict[str, str]:
    """Definition key → digest of that version."""
    return {
        str(content.key): content.digest()
        for content in (task_definition(*name.rsplit(".", 1), text) for name, text in sources(version).items())
    }


def to_version(releases: MemoryCluster, source: str) -> PrepareRequest:
    """Store that source of the encoder as a revision; return the request to prepare it."""
    changed = releases.add(task_definition("tasklib.encoder", "Encoder", source))
    return PrepareRequest(request_id="update", definitions=dict(changed))


def activation(pointer: ReleasePointer) -> ActivateRequest:
    return ActivateRequest(
        request_id=pointer.request_id,
        epoch=pointer.epoch,
        release=pointer.release,
        content_digest=pointer.content_digest,
    )


def expectation(pointer: ReleasePointer) -> Expectation:
    return Expectation(epoch=pointer.epoch, content_digest=pointer.content_digest)


def ten() -> Deadline:
    return Deadline.after(30)


async def test_an_update_and_its_way_back(
    start: Callable[..., Awaitable[Running]], releases: MemoryCluster, fleet_of: Make
) -> None:
    agents = [await start() for _ in range(5)]
    fleet = fleet_of(gateway=[a.address for a in agents[:2]], dispatcher=[a.address for a in agents[2:]])
    assert (await verify(fleet, "ns", expectation(releases.state.pointer), ten())).is_attested  # type: ignore[arg-type]

    prepared = await prepare(fleet, "ns", to_version(releases, sources(2)["tasklib.encoder.Encoder"]), ten())
    assert prepared.is_prepared
    assert prepared.content_digests == {content_digest(contents(2)): 5}

    releases.silent_watch = True  # so that it is the call that flips them
    second = releases.commit(contents(2), request_id="update")
    told = await invalidate(fleet, "ns", activation(second), ten())
    assert (told.is_complete, told.activated, told.already_active) == (True, 5, 0)
    verified = await verify(fleet, "ns", expectation(second), ten())
    assert verified.is_attested
    assert verified.replicas == 5
    assert verified.mixed_version_window_ms is not None
    assert 0 <= verified.mixed_version_window_ms < 30_000
    assert {agent.agent.registry.get("Encoder").version for agent in agents} == {2}

    back = releases.commit(contents(1), request_id="way-back")
    assert (await invalidate(fleet, "ns", activation(back), ten(), keep_going=True)).is_complete
    assert (await verify(fleet, "ns", expectation(back), ten())).is_attested
    assert not (await verify(fleet, "ns", expectation(second), Rounds(1))).is_attested
    assert {agent.agent.registry.get("Encoder").version for agent in agents} == {1}

    late = await invalidate(fleet, "ns", activation(second), ten())
    assert (late.is_complete, late.ahead, late.activated) == (True, 5, 0)
    assert {agent.agent.registry.get("Encoder").version for agent in agents} == {1}


async def test_a_source_that_does_not_import_is_found_and_taken_away_again(
    start: Callable[..., Awaitable[Running]], releases: MemoryCluster, fleet_of: Make
) -> None:
    agents = [await start() for _ in range(3)]
    fleet = fleet_of(gateway=[a.address for a in agents])
    broken = to_version(releases, "import no_such_module_anywhere\n\n\nclass Encoder:\n    pass\n")

    outcome = await prepare(fleet, "ns", broken, ten())

    assert not outcome.is_prepared
    encoder = next(problem for problem in outcome.problems if problem.definitions == ["TaskDefinition/encoder"])
    assert encoder.replica_count == 1, "the others are not asked"
    assert "no_such_module_anywhere" in encoder.message
    assert (await verify(fleet, "ns", expectation(releases.state.pointer), ten())).is_attested  # type: ignore[arg-type]
    assert (await abort_prepared(fleet, "ns", AbortRequest(request_id="update"), ten())).problem_count == 0


async def test_classes_that_end_the_process_end_one(releases: MemoryCluster, fleet_of: Make) -> None:
    """A native import that crashes, or one that takes all memory."""
    deadly = "import os\n\nos._exit(9)\n\n\nclass Encoder:\n    pass\n"
    request = to_version(releases, deadly)
    held = json.dumps([sources(1), {"tasklib.encoder.Encoder": deadly}])
    names = {"NAMESPACE": "ns", "KUBE_URL": "http://in-memory", "TOKEN": TOKEN}
    env = {**os.environ, **{f"TASKROLL_AGENT_{name}": value for name, value in names.items()}}
    hosts = ["127.0.3.1", "127.0.3.2", "127.0.3.3"]
    with contextlib.ExitStack() as ports:
        held_ports = [ports.enter_context(socket.create_server((host, 0))) for host in hosts]
        addresses = [f"{host}:{one.getsockname()[1]}" for host, one in zip(hosts, held_ports, strict=True)]
    async with contextlib.AsyncExitStack() as processes:
        first, second, third = [
            await processes.enter_async_context(agent_process(*address.split(":"), held, env=env))
            for address in addresses
        ]
        fleet = fleet_of(gateway=addresses[:2], dispatcher=addresses[2:])
        outcome = await asyncio.wait_for(prepare(fleet, "ns", request, Deadline.after(3600)), 60)
        assert await first.wait() == 9
        assert [(p.endpoint, p.reason, p.message) for p in outcome.unprepared] == [
            (addresses[0], "process_ended", "its process ended while it loaded the new classes")
        ]
        assert not outcome.is_prepared
        said = await attest_all(fleet, "ns", Rounds(1))
        assert [isinstance(answer, Attestation) for _, answer in said.replicas] == [False, True, True]
        assert (second.returncode, third.returncode) == (None, None)


async def test_abort_drops_what_was_prepared(
    start: Callable[..., Awaitable[Running]], releases: MemoryCluster, fleet_of: Make
) -> None:
    agents = [await start() for _ in range(3)]
    fleet = fleet_of(gateway=[a.address for a in agents])
    assert (await prepare(fleet, "ns", to_version(releases, sources(2)["tasklib.encoder.Encoder"]), ten())).is_prepared
    said = await attest_all(fleet, "ns", ten())
    assert [isinstance(a, Attestation) and a.prepared for _, a in said.replicas] == [["update"]] * 3

    first = await abort_prepared(fleet, "ns", AbortRequest(request_id="update"), ten())
    again = await abort_prepared(fleet, "ns", AbortRequest(request_id="update"), ten())

    assert (first.dropped, first.problem_count) == (3, 0)
    assert (again.dropped, again.problem_count) == (0, 0)
    said = await attest_all(fleet, "ns", ten())
    assert [isinstance(a, Attestation) and a.prepared for _, a in said.replicas] == [[]] * 3
    assert said.contents == {content_digest(contents(1)): contents(1)}


async def test_agents_that_flipped_by_themselves_only_confirm(
    start: Callable[..., Awaitable[Running]], releases: MemoryCluster, fleet_of: Make
) -> None:
    fleet = fleet_of(gateway=[(await start()).address for _ in range(3)])
    to_version(releases, sources(2)["tasklib.encoder.Encoder"])
    pointer = releases.commit(contents(2), request_id="update")
    assert (await verify(fleet, "ns", expectation(pointer), ten())).is_attested
    told = await invalidate(fleet, "ns", activation(pointer), ten())
    assert (told.activated, told.already_active) == (0, 3)


async def test_a_replica_that_was_killed_comes_back_on_the_released_version(
    start: Callable[..., Awaitable[Running]], releases: MemoryCluster, fleet_of: Make
) -> None:
    stays, dies = await start(), await start()
    fleet = fleet_of(gateway=[stays.address, dies.address])
    to_version(releases, sources(2)["tasklib.encoder.Encoder"])
    await dies.stop()
    pointer = releases.commit(contents(2), request_id="update")
    without = await verify(fleet, "ns", expectation(pointer), Rounds(2))
    assert [(p.reason, p.endpoint) for p in without.mismatches] == [("unreachable", dies.address)]

    host, _, port = dies.address.rpartition(":")
    await start(host=host, port=int(port))
    assert (await verify(fleet, "ns", expectation(pointer), ten())).is_attested


async def test_agents_cut_off_from_the_api_server_are_unreachable_for_prepare(
    start: Callable[..., Awaitable[Running]], releases: MemoryCluster, fleet_of: Make
) -> None:
    fleet = fleet_of(gateway=[(await start()).address])
    request = to_version(releases, sources(2)["tasklib.encoder.Encoder"])
    releases.cut_off = True
    outcome = await prepare(fleet, "ns", request, Rounds(5))
    assert [problem.message for problem in outcome.unprepared] == ["it answered 503 (it cannot reach the API server)"]
    releases.cut_off = False
    assert (await prepare(fleet, "ns", request, ten())).is_prepared


async def test_an_agent_with_another_token(
    start: Callable[..., Awaitable[Running]], releases: MemoryCluster, fleet_of: Make
) -> None:
    fleet = fleet_of(gateway=[(await start(token="another")).address])
    outcome = await verify(fleet, "ns", expectation(releases.state.pointer), Rounds(1))  # type: ignore[arg-type]
    assert [problem.reason for problem in outcome.mismatches] == ["unauthorised"]
