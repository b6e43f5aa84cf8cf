"""Prepared generations: never in the way of what serves, bounded, and gone when nobody wants them."""

import asyncio
import sys
import threading
import types
import weakref
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import pytest

from taskroll_agent import Agent, assembly
from taskroll_agent.contracts import AbortRequest, ActivateRequest, PrepareRequest, ReleasePointer
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
    start_agent: StartAgent,
    memory: MemoryCluster,
    root: str,
    gate: types.SimpleNamespace,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    agent = await start_agent(load_timeout=0.2)
    stuck = a_task(memory, f"{root}.stuck", "Stuck", 1, before=f"import {gate.name}\n{gate.name}.stop()\n")
    answer = await agent.prepare(request("up", stuck, a_task(memory, f"{root}.m", "Task", 1)))
    (problem,) = answer.problems
    assert (problem.definition, problem.error) == ("TaskDefinition/stuck", "LoadTimeout")
    assert problem.message == f"{root}.stuck was still running after 0.2 s"
    patient = agent.settings.model_copy(update={"load_timeout": 60.0})
    monkeypatch.setattr(agent._assembly, "_settings", patient)
    assert (await agent.prepare(request("other", a_task(memory, f"{root}.m", "Task", 2)))).prepared
    assert not gate.go_on.is_set()


async def test_stopping_does_not_wait_for_a_module_that_never_ends(
    start_agent: StartAgent, memory: MemoryCluster, root: str, gate: types.SimpleNamespace
) -> None:
    agent = await start_agent()
    stuck = a_task(memory, f"{root}.m", "Task", 1, before=f"import {gate.name}\n{gate.name}.stop()\n")
    preparing = asyncio.create_task(agent.prepare(request("up", stuck)))
    await asyncio.to_thread(gate.entered.wait)
    async with asyncio.timeout(5):
        await agent.stop()
    assert not gate.go_on.is_set()
    with pytest.raises(asyncio.CancelledError):
        await preparing


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
