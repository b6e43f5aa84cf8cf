"""Preparing: loaded once whoever asks, side by side, on the right base, and only what is missing is read."""

import asyncio
import sys
import threading
import types
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import pytest

from taskroll_agent import Agent, assembly
from taskroll_agent.contents import READS_AT_ONCE
from taskroll_agent.contracts import ActivateRequest, PrepareRequest, ReleasePointer
from taskroll_agent.errors import ClusterUnavailable
from taskroll_agent.memory_cluster import MemoryCluster, task_definition

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


async def test_what_runs_already_needs_no_second_generation(
    start_agent: StartAgent, memory: MemoryCluster, root: str, loads: list[int]
) -> None:
    change = a_task(memory, f"{root}.m", "Task", 1)
    memory.commit(change, request_id="up")
    agent = await start_agent()
    answer = await agent.prepare(request("up", change))
    assert answer.prepared
    assert answer.content_digest == agent.attest().content_digest
    assert len(loads) == 1
    assert agent.attest().prepared == [], "nothing is kept for it that the next flip would have to let go"


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


async def test_many_are_read_at_once_and_not_all(
    start_agent: StartAgent, memory: MemoryCluster, root: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    agent = await start_agent()
    change: dict[str, str] = {}
    for n in range(50):
        change |= a_task(memory, f"{root}.m{n}", f"T{n}", 1)
    at_once = most = 0
    read = memory.definition

    async def counted(*args: Any) -> Any:
        nonlocal at_once, most
        at_once += 1
        most = max(most, at_once)
        try:
            return await read(*args)
        finally:
            at_once -= 1

    monkeypatch.setattr(memory, "definition", counted)
    assert (await agent.prepare(request("up", change))).prepared
    assert most == READS_AT_ONCE


async def test_when_the_api_server_goes_away_in_the_middle_the_reads_stop(
    start_agent: StartAgent, memory: MemoryCluster, root: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    agent = await start_agent()
    change: dict[str, str] = {}
    for n in range(50):
        change |= a_task(memory, f"{root}.m{n}", f"T{n}", 1)
    tried = 0

    async def fails(*_: Any) -> Any:
        nonlocal tried
        tried += 1
        await asyncio.sleep(0)
        raise ClusterUnavailable("gone")

    with monkeypatch.context() as patch:
        patch.setattr(memory, "definition", fails)
        with pytest.raises(ClusterUnavailable):
            await agent.prepare(request("up", change))
    assert tried <= READS_AT_ONCE, "each read takes its whole time-out before it fails"
    assert (await agent.prepare(request("up", change))).prepared


async def test_contents_that_nobody_needs_are_forgotten(
    start_agent: StartAgent, memory: MemoryCluster, root: str, reached: Reached
) -> None:
    agent = await start_agent()
    for n in range(1, 8):
        memory.commit(a_task(memory, f"{root}.m", "Task", n))
        await reached(agent, n)
    assert len(agent._assembly._contents) == 2, "the running and the former one"


@pytest.mark.parametrize("key", ["task", "TaskDefinition/", "/x", "Secret/x", ""])
async def test_a_key_that_is_none(start_agent: StartAgent, key: str) -> None:
    agent = await start_agent()
    with pytest.raises(ValueError, match="no definition key"):
        await agent.prepare(request("up", {key: "sha256:" + "0" * 64}))
