"""Which release a process runs, whatever the pointer and the API server do to it."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from taskroll_agent import Agent, ClusterError
from taskroll_agent.cluster import PointerState
from taskroll_agent.contracts import ActivateRequest, PrepareRequest, ReleasePointer
from taskroll_agent.errors import ClusterUnavailable
from taskroll_agent.memory_cluster import MemoryCluster
from tests.agent.sources import digests, source, version

StartAgent = Callable[..., Awaitable[Agent]]
Reached = Callable[[Agent, int], Awaitable[None]]
Until = Callable[[Callable[[], Any]], Awaitable[Any]]
Activation = Callable[[ReleasePointer], ActivateRequest]


async def test_no_pointer_means_ready_with_nothing(start_agent: StartAgent) -> None:
    agent = await start_agent()
    attestation = agent.attest(full=True)
    assert agent.ready
    assert (attestation.epoch, attestation.release, attestation.definitions) == (0, None, {})
    assert (attestation.problem, attestation.pointer_epoch, attestation.generations) == (None, None, 0)


async def test_a_replica_starts_on_the_release_of_the_pointer(
    start_agent: StartAgent, memory: MemoryCluster, root: str
) -> None:
    memory.commit_sources(source(root, 1))
    pointer = memory.commit_sources(source(root, 2))
    agent = await start_agent()
    assert agent.ready
    assert version(agent) == 2
    attestation = agent.attest(full=True)
    assert attestation.epoch == attestation.pointer_epoch == 2
    assert attestation.release == pointer.release
    assert attestation.content_digest == pointer.content_digest
    assert attestation.definitions == memory.releases[pointer.release].digests()
    assert attestation.activated_at is not None


async def test_not_ready_while_the_api_server_cannot_be_reached_at_the_start(
    start_agent: StartAgent, memory: MemoryCluster, root: str, reached: Reached
) -> None:
    pointer = memory.commit_sources(source(root, 1))
    memory.cut_off = True
    agent = await start_agent(start_timeout=0.05)
    assert not agent.ready
    assert agent.problem == "the release pointer cannot be read: cut off"
    memory.cut_off = False
    memory.move(pointer)
    await reached(agent, 1)
    assert agent.ready
    assert agent.problem is None


async def test_not_ready_while_the_release_cannot_be_loaded_at_the_start(
    start_agent: StartAgent, memory: MemoryCluster, root: str, reached: Reached
) -> None:
    memory.commit_sources({f"{root}.m.Task": "1 / 0\n"})
    agent = await start_agent(start_timeout=0.2)
    assert not agent.ready
    assert "ZeroDivisionError" in str(agent.problem)
    memory.commit_sources(source(root, 2))
    await reached(agent, 2)
    assert agent.ready
    assert agent.problem is None


async def test_the_pointer_moves_to_what_was_prepared(
    start_agent: StartAgent, memory: MemoryCluster, root: str, reached: Reached
) -> None:
    memory.commit_sources(source(root, 1))
    agent = await start_agent()
    new = digests(memory, root, 2)
    answer = await agent.prepare(PrepareRequest(request_id="up", definitions=dict(new)))
    assert answer.prepared
    assert version(agent) == 1
    assert agent.attest().prepared == ["up"]
    pointer = memory.write_release(new, request_id="up")
    assert answer.content_digest == pointer.content_digest
    memory.reads.clear()
    memory.move(pointer)
    await reached(agent, 2)
    assert version(agent) == 2
    assert memory.reads == [], "the flip needs nothing but the prepared generation"
    assert agent.attest().prepared == []


async def test_a_release_that_cannot_be_read_is_tried_again(
    start_agent: StartAgent, memory: MemoryCluster, root: str, reached: Reached, until: Until
) -> None:
    memory.commit_sources(source(root, 1))
    agent = await start_agent()
    new = digests(memory, root, 2)
    (digest,) = new.values()
    kept = memory.definitions.pop(digest)
    memory.commit(new)
    await until(lambda: agent.problem)
    assert "NotInCluster" in str(agent.problem)
    memory.definitions[digest] = kept
    await reached(agent, 2)
    assert agent.problem is None


async def test_a_release_with_the_same_content_takes_over_the_generation(
    start_agent: StartAgent, memory: MemoryCluster, root: str, reached: Reached
) -> None:
    first = memory.commit_sources(source(root, 1))
    agent = await start_agent()
    task = agent.registry.get("Task")
    memory.commit(memory.releases[first.release].digests(), request_id="again")
    await reached(agent, 2)
    assert agent.registry.get("Task") is task
    assert agent.attest().release == "taskroll-release-000002-again"


async def test_a_pointer_that_was_edited_by_hand_moves_nothing(
    start_agent: StartAgent, memory: MemoryCluster, root: str, reached: Reached, until: Until
) -> None:
    memory.commit_sources(source(root, 1))
    agent = await start_agent()
    memory.move(PointerState(None, "release pointer taskroll-release: its digest does not match its content"))
    await until(lambda: agent.problem)
    assert "digest does not match" in str(agent.attest().problem)
    assert version(agent) == 1
    memory.commit_sources(source(root, 2))
    await reached(agent, 2)
    assert agent.problem is None


async def test_not_ready_where_the_pointer_cannot_be_trusted_at_the_start(
    start_agent: StartAgent, memory: MemoryCluster, root: str, reached: Reached
) -> None:
    memory.move(PointerState(None, "edited by hand"))
    agent = await start_agent(start_timeout=0.05)
    assert not agent.ready
    assert agent.problem == "edited by hand"
    memory.commit_sources(source(root, 1))
    await reached(agent, 1)
    assert agent.ready


async def test_a_pointer_that_does_not_match_its_release_moves_nothing(
    start_agent: StartAgent, memory: MemoryCluster, root: str, until: Until
) -> None:
    memory.commit_sources(source(root, 1))
    agent = await start_agent()
    pointer = memory.write_release(digests(memory, root, 2))
    memory.move(pointer.model_copy(update={"content_digest": "sha256:" + "0" * 64}))
    await until(lambda: agent.problem)
    assert "is not what the pointer says" in str(agent.problem)
    assert version(agent) == 1


async def test_a_pointer_that_disappears_leaves_the_process_where_it_is(
    start_agent: StartAgent, memory: MemoryCluster, root: str, until: Until, reached: Reached
) -> None:
    memory.commit_sources(source(root, 1))
    agent = await start_agent()
    memory.move(PointerState(None))
    await until(lambda: agent.problem)
    assert agent.problem == "the release pointer is gone; staying at epoch 1"
    assert version(agent) == 1
    memory.commit_sources(source(root, 2))
    await reached(agent, 2)
    assert agent.problem is None


async def test_errors_of_the_watch_change_nothing_for_one_that_serves(
    start_agent: StartAgent, memory: MemoryCluster, root: str, reached: Reached
) -> None:
    memory.commit_sources(source(root, 1))
    agent = await start_agent()
    memory.tell(ClusterUnavailable("the watch broke"))
    memory.tell(ClusterError("and again"))
    memory.commit_sources(source(root, 2))
    await reached(agent, 2)
    assert agent.problem is None


async def test_the_pointer_moves_on_while_a_release_loads(
    start_agent: StartAgent, memory: MemoryCluster, root: str, until: Until, monkeypatch: pytest.MonkeyPatch
) -> None:
    memory.commit_sources(source(root, 1))
    agent = await start_agent()
    served: list[int] = []
    agent.registry.on_activate(lambda active, _: served.append(active.epoch))
    entered, go_on = asyncio.Event(), asyncio.Event()
    read = memory.definition

    async def slow(*args: Any) -> Any:
        entered.set()
        await go_on.wait()
        return await read(*args)

    monkeypatch.setattr(memory, "definition", slow)
    memory.commit_sources(source(root, 2))
    await entered.wait()
    memory.commit_sources(source(root, 3))
    await until(lambda: agent.attest().pointer_epoch == 3)
    go_on.set()
    await until(lambda: agent.registry.active.epoch == 3)
    assert served == [3], "the release that was left behind is never served"


@pytest.mark.parametrize("failure", [ZeroDivisionError, asyncio.CancelledError, SystemExit, GeneratorExit])
async def test_a_callback_that_fails_is_attested(
    start_agent: StartAgent, memory: MemoryCluster, root: str, reached: Reached, failure: type[BaseException]
) -> None:
    memory.commit_sources(source(root, 1))
    agent = await start_agent()

    def fails(*_: object) -> None:
        raise failure("adapter")

    remove = agent.registry.on_activate(fails)
    memory.commit_sources(source(root, 2))
    await reached(agent, 2)
    assert version(agent) == 2
    assert agent.attest().problem == f"on_activate: {failure.__name__}: adapter"
    remove()
    memory.commit_sources(source(root, 3))
    await reached(agent, 3)
    assert agent.problem is None


async def test_an_agent_starts_once(start_agent: StartAgent) -> None:
    from taskroll_agent import AgentError

    agent = await start_agent()
    with pytest.raises(AgentError):
        await agent.start()
    await agent.stop()
    with pytest.raises(AgentError):
        await agent.start()
