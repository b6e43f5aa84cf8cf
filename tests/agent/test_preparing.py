"""Generations prepared beside the current one: loaded once, side by side, dropped, and never in the way."""

import asyncio
import sys
import threading
import time
import types
import weakref
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import pytest

from taskroll_agent import Agent, assembly
from taskroll_agent.contracts import AbortRequest, ActivateRequest, PrepareRequest, ReleasePointer
from taskroll_agent.errors import ClusterUnavailable
from taskroll_agent.memory_cluster import MemoryCluster, task_definition
from taskroll_agent.prepared import MOST

StartAgent = Callable[..., Awaitable[Agent]]
Reached = Callable[[Agent, int], Awaitable[None]]
Until = Callable[[Callable[[], Any]], Awaitable[Any]]
Activation = Callable[[ReleasePointer], ActivateRequest]


@pytest.fixture
def loads(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """One entry per load that ran."""
    ran: list[int] = []
    original = assembly.run_in_thread

    async def counted(loading: Any, patience: float) -> Any:
        ran.append(1)
        return await original(loading, patience)

    monkeypatch.setattr(assembly, "run_in_thread", counted)
    return ran


@pytest.fixture
def gate(root: str) -> Iterator[types.SimpleNamespace]:
    """A module that released sources can import to stop in: `entered` is set there, `go_on` lets them go on."""
    made = types.SimpleNamespace(entered=threading.Event(), go_on=threading.Event(), name=f"gate_{root}")
    made.stop = lambda: (made.entered.set(), made.go_on.wait(10))
    sys.modules[made.name] = made  # type: ignore[assignment]
    yield made
    made.go_on.set()
    del sys.modules[made.name]


def a_task(memory: MemoryCluster, module: str, name: str, version: object, before: str = "") -> dict[str, str]:
    return memory.add(task_definition(module, name, f"{before}class {name}:\n    version = {version!r}\n"))


def request(request_id: str, *changes: dict[str, Any]) -> PrepareRequest:
    definitions: dict[str, Any] = {}
    for change in changes:
        definitions |= change
    return PrepareRequest(request_id=request_id, definitions=definitions)


async def test_prepared_twice_is_loaded_once(
    start_agent: StartAgent, memory: MemoryCluster, root: str, loads: list[int]
) -> None:
    agent = await start_agent()
    change = a_task(memory, f"{root}.m", "Task", 1)
    answers = [await agent.prepare(request("up", change)) for _ in range(2)]
    answers += await asyncio.gather(*(agent.prepare(request("up", change)) for _ in range(5)))
    assert all(answer.prepared for answer in answers)
    assert len({answer.content_digest for answer in answers}) == 1
    assert len(loads) == 1
    assert answers[0].seconds > 0


async def test_asked_at_the_same_time_it_is_loaded_once(
    start_agent: StartAgent, memory: MemoryCluster, root: str, loads: list[int]
) -> None:
    agent = await start_agent()
    change = a_task(memory, f"{root}.m", "Task", 1)
    answers = await asyncio.gather(*(agent.prepare(request(f"up-{n % 2}", change)) for n in range(6)))
    assert all(answer.prepared for answer in answers)
    assert sorted(agent.attest().prepared) == ["up-0", "up-1"]
    assert len(loads) == 1, "the same content is one generation, whoever asks"


async def test_different_updates_side_by_side(
    start_agent: StartAgent, memory: MemoryCluster, root: str, reached: Reached, loads: list[int]
) -> None:
    memory.commit(a_task(memory, f"{root}.a", "A", 1) | a_task(memory, f"{root}.b", "B", 1))
    agent = await start_agent()
    change_a, change_b = a_task(memory, f"{root}.a", "A", 2), a_task(memory, f"{root}.b", "B", 2)
    first, second = await asyncio.gather(
        agent.prepare(request("up-a", change_a)), agent.prepare(request("up-b", change_b))
    )
    assert first.content_digest != second.content_digest
    base = dict(agent.registry.active.generation.digests)
    memory.commit(base | change_a, request_id="up-a")
    await reached(agent, 2)
    assert (agent.registry.get("A").version, agent.registry.get("B").version) == (2, 1)
    assert agent.attest().prepared == ["up-b"]
    # up-b was prepared on the release before; what is committed for it now has up-a in it too, and just that is served.
    memory.commit(base | change_a | change_b, request_id="up-b")
    await reached(agent, 3)
    assert (agent.registry.get("A").version, agent.registry.get("B").version) == (2, 2)
    assert agent.attest().prepared == []
    assert len(loads) == 4


async def test_prepared_again_after_another_update_it_builds_on_that(
    start_agent: StartAgent, memory: MemoryCluster, root: str, reached: Reached
) -> None:
    memory.commit(a_task(memory, f"{root}.a", "A", 1) | a_task(memory, f"{root}.b", "B", 1))
    agent = await start_agent()
    change_a, change_b = a_task(memory, f"{root}.a", "A", 2), a_task(memory, f"{root}.b", "B", 2)
    before = await agent.prepare(request("up-b", change_b))
    base = dict(agent.registry.active.generation.digests)
    memory.commit(base | change_a, request_id="up-a")
    await reached(agent, 2)
    after = await agent.prepare(request("up-b", change_b))
    assert before.content_digest != after.content_digest
    pointer = memory.write_release(base | change_a | change_b, request_id="up-b")
    assert after.content_digest == pointer.content_digest
    memory.reads.clear()
    memory.move(pointer)
    await reached(agent, 3)
    assert memory.reads == []


async def test_prepare_builds_on_the_release_that_the_pointer_names_even_where_the_watch_has_not_said_so(
    start_agent: StartAgent, memory: MemoryCluster, root: str
) -> None:
    memory.commit(a_task(memory, f"{root}.a", "A", 1) | a_task(memory, f"{root}.b", "B", 1))
    agent = await start_agent()
    base = dict(agent.registry.active.generation.digests)
    memory.silent_watch = True
    change_a, change_b = a_task(memory, f"{root}.a", "A", 2), a_task(memory, f"{root}.b", "B", 2)
    memory.commit(base | change_a)
    answer = await agent.prepare(request("up-b", change_b))
    assert answer.content_digest == memory.write_release(base | change_a | change_b).content_digest


async def test_definitions_added_and_deleted(
    start_agent: StartAgent, memory: MemoryCluster, root: str, reached: Reached
) -> None:
    memory.commit(a_task(memory, f"{root}.a", "A", 1) | a_task(memory, f"{root}.b", "B", 1))
    agent = await start_agent()
    added = a_task(memory, f"{root}.c", "C", 1)
    answer = await agent.prepare(request("up", added, {"TaskDefinition/b": None, "TaskDefinition/never": None}))
    assert answer.prepared
    wanted = {k: d for k, d in agent.registry.active.generation.digests.items() if k != "TaskDefinition/b"} | added
    memory.commit(wanted, request_id="up")
    await reached(agent, 2)
    assert sorted(agent.attest(full=True).definitions or {}) == ["TaskDefinition/a", "TaskDefinition/c"]
    assert f"{root}.b" not in sys.modules


async def test_a_deleted_definition_that_another_one_imports(
    start_agent: StartAgent, memory: MemoryCluster, root: str
) -> None:
    memory.commit(
        a_task(memory, f"{root}.a", "A", 1) | a_task(memory, f"{root}.b", "B", 1, before=f"from {root}.a import A\n")
    )
    agent = await start_agent()
    answer = await agent.prepare(request("up", {"TaskDefinition/a": None}))
    assert not answer.prepared
    assert answer.content_digest is None
    (problem,) = answer.problems
    assert (problem.definition, problem.error) == ("TaskDefinition/b", "ModuleNotFoundError")
    assert problem.message == f"{root}.b, line 1: no module named {root}.a"
    assert agent.attest().prepared == []


async def test_revisions_that_are_missing_are_named(start_agent: StartAgent, memory: MemoryCluster, root: str) -> None:
    agent = await start_agent()
    change = a_task(memory, f"{root}.a", "A", 1) | a_task(memory, f"{root}.b", "B", 1)
    memory.definitions.clear()
    answer = await agent.prepare(request("up", change))
    assert not answer.prepared
    assert sorted((p.definition, p.error) for p in answer.problems) == [
        ("TaskDefinition/a", "NotInCluster"),
        ("TaskDefinition/b", "NotInCluster"),
    ]


async def test_cut_off_from_the_api_server(start_agent: StartAgent, memory: MemoryCluster, root: str) -> None:
    agent = await start_agent()
    memory.cut_off = True
    with pytest.raises(ClusterUnavailable):
        await agent.prepare(request("up", a_task(memory, f"{root}.a", "A", 1)))
    memory.cut_off = False
    assert (await agent.prepare(request("up", a_task(memory, f"{root}.a", "A", 1)))).prepared


async def test_only_what_is_missing_is_read(
    start_agent: StartAgent, memory: MemoryCluster, root: str, reached: Reached
) -> None:
    everything: dict[str, str] = {}
    for n in range(20):
        everything |= a_task(memory, f"{root}.m{n}", f"T{n}", 1)
    memory.commit(everything)
    agent = await start_agent()
    change = a_task(memory, f"{root}.m7", "T7", 2)
    memory.reads.clear()
    assert (await agent.prepare(request("up", change))).prepared
    assert memory.reads == ["pointer", "TaskDefinition/t7"]
    memory.commit(everything | change, request_id="up")
    await reached(agent, 2)
    assert (await agent.prepare(request("back", {k: everything[k] for k in change}))).prepared
    assert memory.reads == ["pointer", "TaskDefinition/t7", "pointer"], "the former contents are still there"


async def test_contents_that_nobody_needs_are_forgotten(
    start_agent: StartAgent, memory: MemoryCluster, root: str, reached: Reached
) -> None:
    agent = await start_agent()
    for n in range(1, 8):
        memory.commit(a_task(memory, f"{root}.m", "Task", n))
        await reached(agent, n)
    assert len(agent._assembly._contents) == 2, "the running and the former one"


async def test_abort_drops_the_generation(
    start_agent: StartAgent, memory: MemoryCluster, root: str, collected: Callable[[], None]
) -> None:
    memory.commit(a_task(memory, f"{root}.m", "Task", 1))
    agent = await start_agent()
    await agent.prepare(request("up", a_task(memory, f"{root}.m", "Task", 2)))
    await agent.prepare(request("other", a_task(memory, f"{root}.m", "Task", 3)))
    generation = weakref.ref(agent._assembly.prepared.get("up"))
    assert agent.attest().generations == 3
    assert (await agent.abort(AbortRequest(request_id="up"))).dropped
    assert not (await agent.abort(AbortRequest(request_id="up"))).dropped
    assert agent.attest().prepared == ["other"]
    assert agent.registry.get("Task").version == 1
    collected()
    assert generation() is None
    assert agent.attest().generations == 2


async def test_abort_while_it_is_being_prepared(
    start_agent: StartAgent, memory: MemoryCluster, root: str, gate: types.SimpleNamespace
) -> None:
    agent = await start_agent()
    change = a_task(memory, f"{root}.m", "Task", 1, before=f"import {gate.name}\n{gate.name}.stop()\n")
    preparing = asyncio.create_task(agent.prepare(request("up", change)))
    await asyncio.to_thread(gate.entered.wait)
    assert (await agent.abort(AbortRequest(request_id="up"))).dropped
    gate.go_on.set()
    await preparing
    assert agent.attest().prepared == []


async def test_asked_for_something_else_under_the_same_request(
    start_agent: StartAgent, memory: MemoryCluster, root: str, gate: types.SimpleNamespace
) -> None:
    agent = await start_agent()
    slow = a_task(memory, f"{root}.m", "Task", 1, before=f"import {gate.name}\n{gate.name}.stop()\n")
    quick = a_task(memory, f"{root}.m", "Task", 2)
    first = asyncio.create_task(agent.prepare(request("up", slow)))
    await asyncio.to_thread(gate.entered.wait)
    second = asyncio.create_task(agent.prepare(request("up", quick)))
    await asyncio.sleep(0)
    gate.go_on.set()
    answers = await asyncio.gather(first, second)
    assert all(answer.prepared for answer in answers)
    prepared = agent._assembly.prepared.get("up")
    assert prepared is not None
    assert prepared.get("Task").version == 2, "what was asked for last is what is kept"


async def test_a_caller_that_goes_away_does_not_end_the_preparation(
    start_agent: StartAgent, memory: MemoryCluster, root: str, gate: types.SimpleNamespace, until: Until
) -> None:
    agent = await start_agent()
    change = a_task(memory, f"{root}.m", "Task", 1, before=f"import {gate.name}\n{gate.name}.stop()\n")
    preparing = asyncio.create_task(agent.prepare(request("up", change)))
    await asyncio.to_thread(gate.entered.wait)
    preparing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await preparing
    gate.go_on.set()
    await until(lambda: agent.attest().prepared == ["up"])


async def test_the_event_loop_goes_on_while_modules_run(
    start_agent: StartAgent, memory: MemoryCluster, root: str, gate: types.SimpleNamespace
) -> None:
    memory.commit(a_task(memory, f"{root}.m", "Task", 1))
    agent = await start_agent()
    change = a_task(memory, f"{root}.m", "Task", 2, before=f"import {gate.name}\n{gate.name}.stop()\n")
    preparing = asyncio.create_task(agent.prepare(request("up", change)))
    await asyncio.to_thread(gate.entered.wait)
    turns = 0
    for _ in range(1000):
        await asyncio.sleep(0)
        turns += agent.registry.get("Task").version
    assert turns == 1000
    assert not preparing.done()
    gate.go_on.set()
    assert (await preparing).prepared


async def test_a_module_that_never_ends_is_given_up_and_blocks_no_other(
    start_agent: StartAgent, memory: MemoryCluster, root: str, gate: types.SimpleNamespace
) -> None:
    agent = await start_agent(load_timeout=0.2)
    stuck = a_task(memory, f"{root}.stuck", "Stuck", 1, before=f"import {gate.name}\n{gate.name}.stop()\n")
    answer = await agent.prepare(request("up", stuck, a_task(memory, f"{root}.m", "Task", 1)))
    (problem,) = answer.problems
    assert (problem.definition, problem.error) == ("TaskDefinition/stuck", "LoadTimeout")
    assert problem.message == f"{root}.stuck was still running after 0.2 s"
    started = time.perf_counter()
    assert (await agent.prepare(request("other", a_task(memory, f"{root}.m", "Task", 2)))).prepared
    assert time.perf_counter() - started < 5
    gate.go_on.set()


async def test_generations_that_nobody_activates_or_aborts_are_bounded(
    start_agent: StartAgent, memory: MemoryCluster, root: str
) -> None:
    agent = await start_agent()
    for n in range(MOST + 3):
        await agent.prepare(request(f"up-{n}", a_task(memory, f"{root}.m", "Task", n)))
    assert agent.attest().prepared == [f"up-{n}" for n in range(3, MOST + 3)]


async def test_an_update_that_was_dropped_for_room_is_loaded_when_it_is_committed(
    start_agent: StartAgent, memory: MemoryCluster, root: str, activation: Activation
) -> None:
    agent = await start_agent()
    for n in range(MOST + 1):
        await agent.prepare(request(f"up-{n}", a_task(memory, f"{root}.m", "Task", n)))
    pointer = memory.write_release(a_task(memory, f"{root}.m", "Task", 0), request_id="up-0")
    assert not (await agent.activate(activation(pointer))).already_active
    assert agent.registry.get("Task").version == 0


@pytest.mark.parametrize("key", ["task", "TaskDefinition/", "/x", "Secret/x", ""])
async def test_a_key_that_is_none(start_agent: StartAgent, key: str) -> None:
    agent = await start_agent()
    with pytest.raises(ValueError, match="no definition key"):
        await agent.prepare(request("up", {key: "sha256:" + "0" * 64}))
