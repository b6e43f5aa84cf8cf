"""Activate and abort: before the pointer is seen, after it, too late, and for what cannot be loaded."""

from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from taskroll_agent import Agent, Refused
from taskroll_agent.cluster import PointerState
from taskroll_agent.contracts import AbortRequest, ActivateRequest, PrepareRequest, ReleasePointer
from taskroll_agent.errors import ClusterUnavailable
from taskroll_agent.memory_cluster import MemoryCluster
from tests.agent.sources import digests, source, version

StartAgent = Callable[..., Awaitable[Agent]]
Reached = Callable[[Agent, int], Awaitable[None]]
Until = Callable[[Callable[[], Any]], Awaitable[Any]]
Activation = Callable[[ReleasePointer], ActivateRequest]


async def test_the_pointer_moves_and_nothing_was_prepared(
    start_agent: StartAgent, memory: MemoryCluster, root: str, reached: Reached, activation: Activation
) -> None:
    memory.commit_sources(source(root, 1))
    agent = await start_agent()
    pointer = memory.commit_sources(source(root, 2))
    await reached(agent, 2)
    assert version(agent) == 2
    answer = await agent.activate(activation(pointer))
    assert (answer.epoch, answer.content_digest, answer.already_active) == (2, pointer.content_digest, True)


async def test_activate_comes_before_the_watch(
    start_agent: StartAgent, memory: MemoryCluster, root: str, activation: Activation
) -> None:
    memory.commit_sources(source(root, 1))
    agent = await start_agent()
    new = digests(memory, root, 2)
    await agent.prepare(PrepareRequest(request_id="up", definitions=dict(new)))
    pointer = memory.write_release(new, request_id="up")
    memory.cut_off = True
    answer = await agent.activate(activation(pointer))
    assert (answer.epoch, answer.already_active) == (2, False)
    assert version(agent) == 2
    memory.cut_off = False
    memory.tell(PointerState(memory.write_release({}, epoch=1, request_id="req")))  # a late look at the time before
    memory.move(pointer)
    assert (await agent.activate(activation(pointer))).already_active
    assert agent.registry.active.epoch == 2
    assert agent.problem is None


async def test_activate_of_what_was_not_prepared(
    start_agent: StartAgent, memory: MemoryCluster, root: str, activation: Activation
) -> None:
    memory.commit_sources(source(root, 1))
    agent = await start_agent()
    memory.silent_watch = True
    pointer = memory.commit_sources(source(root, 2))
    memory.cut_off = True
    with pytest.raises(ClusterUnavailable):
        await agent.activate(activation(pointer))
    assert version(agent) == 1
    memory.cut_off = False
    assert not (await agent.activate(activation(pointer))).already_active
    assert version(agent) == 2


@pytest.mark.parametrize("broken", ["raise RuntimeError", "class Task(", "class Other: pass", "import absent_module_x"])
async def test_a_release_that_cannot_be_loaded_leaves_the_old_one_and_is_taken_back(
    start_agent: StartAgent, memory: MemoryCluster, root: str, reached: Reached, until: Until, activation: Activation,
    broken: str,
) -> None:  # fmt: skip
    first = memory.commit_sources(source(root, 1))
    agent = await start_agent()
    bad = memory.commit_sources({f"{root}.m.Task": broken})
    await until(lambda: agent.problem)
    attestation = agent.attest()
    assert (attestation.epoch, attestation.pointer_epoch) == (1, 2)
    assert bad.release in str(attestation.problem)
    assert "TaskDefinition/task" in str(attestation.problem)
    assert version(agent) == 1
    assert agent.ready, "it can serve what it has"
    with pytest.raises(Refused) as refused:
        await agent.activate(activation(bad))
    assert refused.value.reason == "not_loadable"
    memory.commit(memory.releases[first.release].digests(), request_id="req")
    await reached(agent, 3)
    assert agent.problem is None
    assert version(agent) == 1


async def test_a_rollback_needs_no_api_server(
    start_agent: StartAgent, memory: MemoryCluster, root: str, reached: Reached, activation: Activation
) -> None:
    first = memory.commit_sources(source(root, 1))
    agent = await start_agent()
    memory.commit_sources(source(root, 2))
    await reached(agent, 2)
    memory.cut_off = True
    back = memory.write_release(memory.releases[first.release].digests(), request_id="req")
    answer = await agent.activate(activation(back))
    assert (answer.epoch, answer.content_digest) == (3, first.content_digest)
    assert version(agent) == 1


async def test_it_never_goes_to_a_lower_epoch(
    start_agent: StartAgent, memory: MemoryCluster, root: str, reached: Reached, until: Until, activation: Activation
) -> None:
    first = memory.commit_sources(source(root, 1))
    agent = await start_agent()
    second = memory.commit_sources(source(root, 2))
    await reached(agent, 2)
    with pytest.raises(Refused) as refused:
        await agent.activate(activation(first))
    assert refused.value.reason == "stale_epoch"
    memory.move(first)
    await until(lambda: agent.problem)
    assert "went down from epoch 2 to 1" in str(agent.problem)
    assert version(agent) == 2
    assert agent.attest().pointer_epoch == 2
    memory.move(second)
    await until(lambda: agent.problem is None)


async def test_it_never_goes_to_a_lower_epoch_even_where_it_is_ahead_of_the_pointer_that_it_sees(
    start_agent: StartAgent, memory: MemoryCluster, root: str, activation: Activation
) -> None:
    first = memory.commit_sources(source(root, 1))
    agent = await start_agent()
    memory.silent_watch = True
    await agent.activate(activation(memory.commit_sources(source(root, 2))))
    with pytest.raises(Refused) as refused:
        await agent.activate(activation(first))
    assert refused.value.reason == "stale_epoch"
    assert version(agent) == 2


async def test_late_calls_of_another_update_are_refused(
    start_agent: StartAgent, memory: MemoryCluster, root: str, reached: Reached, activation: Activation
) -> None:
    memory.commit_sources(source(root, 1))
    agent = await start_agent()
    await agent.prepare(PrepareRequest(request_id="lost", definitions=dict(digests(memory, root, "lost"))))
    lost = memory.write_release(digests(memory, root, "lost"), request_id="lost", epoch=2)
    won = memory.write_release(digests(memory, root, "won"), request_id="won", epoch=2)
    memory.move(won)
    await reached(agent, 2)
    with pytest.raises(Refused) as refused:
        await agent.activate(activation(lost))
    assert refused.value.reason == "other_update"
    assert version(agent) == "won"
    memory.silent_watch = True
    with pytest.raises(Refused) as refused:
        await agent.activate(activation(won.model_copy(update={"content_digest": lost.content_digest})))
    assert refused.value.reason == "other_update"


async def test_activate_of_an_epoch_that_the_pointer_has_left_behind(
    start_agent: StartAgent, memory: MemoryCluster, root: str, until: Until, activation: Activation
) -> None:
    memory.commit_sources(source(root, 1))
    agent = await start_agent()
    new = digests(memory, root, 2)
    await agent.prepare(PrepareRequest(request_id="up", definitions=dict(new)))
    second = memory.write_release(new, request_id="up")
    memory.commit_sources({f"{root}.m.Task": "1 / 0"})
    await until(lambda: agent.attest().pointer_epoch == 3)
    with pytest.raises(Refused) as refused:
        await agent.activate(activation(second))
    assert refused.value.reason == "stale_epoch"
    assert version(agent) == 1


async def test_what_the_pointer_names_wins_over_what_was_activated_under_the_same_epoch(
    start_agent: StartAgent, memory: MemoryCluster, root: str, until: Until, activation: Activation
) -> None:
    memory.commit_sources(source(root, 1))
    agent = await start_agent()
    wrong = memory.write_release(digests(memory, root, "wrong"), request_id="wrong", epoch=2)
    await agent.activate(activation(wrong))
    assert version(agent) == "wrong"
    memory.move(memory.write_release(digests(memory, root, "right"), request_id="right", epoch=2))
    await until(lambda: version(agent) == "right")
    assert agent.attest().release == "taskroll-release-000002-right"


async def test_abort_of_an_update_that_is_committed(
    start_agent: StartAgent, memory: MemoryCluster, root: str, until: Until
) -> None:
    memory.commit_sources(source(root, 1))
    agent = await start_agent()
    memory.commit_sources({f"{root}.m.Task": "1 / 0"}, request_id="up")
    await until(lambda: agent.problem)
    with pytest.raises(Refused) as refused:
        await agent.abort(AbortRequest(request_id="up"))
    assert refused.value.reason == "stale_epoch"
    assert not (await agent.abort(AbortRequest(request_id="other"))).dropped
