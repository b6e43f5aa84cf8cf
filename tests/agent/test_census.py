"""After a flip the census says what of former generations is alive, and who holds it."""

import asyncio
import functools
import gc
import sys
import types
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from taskroll_agent import API_PREFIX, Agent, AgentSettings, Registry, standalone_app
from taskroll_agent import agent as agent_module
from taskroll_agent.census import take_census
from taskroll_agent.contracts import Census, Holder, PrepareRequest
from taskroll_agent.memory_cluster import MemoryCluster

from .sources import digests
from .test_host import Platform

StartAgent = Callable[..., Awaitable[Agent]]
Reached = Callable[[Agent, int], Awaitable[None]]

SOURCE = """
import dataclasses
from pydantic import BaseModel

class Part(BaseModel):
    secret: str = "contents"

@dataclasses.dataclass
class Task:
    version = %d
    part: Part = dataclasses.field(default_factory=Part)
    def late(self): return 1
    def stream(self):
        yield self
    async def run(self, gate):
        await gate.wait()
def helper(): return 1
"""


class App:
    """Of a service: keeps what it was given."""

    def __init__(self, kept: object) -> None:
        self.kept = kept


LONG = 120.0
"""Seconds: the process may have a slow processor."""


@pytest.fixture(autouse=True)
def _takes_its_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """Enough time, and only what the test makes to look at: a process of a test suite has objects by the million."""
    monkeypatch.setattr(agent_module, "take_census", functools.partial(take_census, seconds=LONG))
    gc.freeze()


@pytest.fixture
async def agent(start_agent: StartAgent, memory: MemoryCluster, root: str) -> Agent:
    memory.commit_sources({f"{root}.m.Task": SOURCE % 1})
    return await start_agent()


@pytest.fixture
def service() -> Iterator[types.ModuleType]:
    module = sys.modules["service_of_census"] = types.ModuleType("service_of_census")
    yield module
    del sys.modules["service_of_census"]


Flip = Callable[[], Awaitable[None]]


@pytest.fixture
def flip(agent: Agent, memory: MemoryCluster, root: str, reached: Reached) -> Flip:
    async def go() -> None:
        pointer = memory.commit_sources({f"{root}.m.Task": SOURCE % 2})
        await reached(agent, pointer.epoch)

    return go


def found(census: Census) -> dict[tuple[str, str], tuple[int, dict[str, int]]]:
    (old,) = census.generations
    return {
        (line.kind, line.name): (line.count, {holder.name: holder.count for holder in line.held_by})
        for line in old.objects
    }


async def test_nothing_is_old_before_a_flip_and_after_the_last_is_gone(agent: Agent, flip: Flip) -> None:
    assert (await agent.census()).generations == []
    await flip()
    census = await agent.census(collect=True)
    assert (census.epoch, census.generations, census.complete) == (2, [], True)
    assert census.process == agent.identity.process


@pytest.mark.parametrize(
    ("keep", "kind", "thing", "holder"),
    [
        (lambda task: {"a": [task()]}, "instance", "Task", "module service_of_census"),
        (lambda task: functools.partial(task().late), "instance", "Task", "module service_of_census"),
        (lambda task: App(task()), "instance", "Task", f"instance of {__name__}.App"),
        (lambda task: App({1: (task(),)}), "instance", "Task", f"instance of {__name__}.App"),
        (lambda task: task().stream(), "instance", "Task", "generator {root}.m.Task.stream"),
        (lambda task: task, "class", "Task", "module service_of_census"),
        (lambda task: {task: 1}, "class", "Task", "module service_of_census"),
        (lambda task: type("Sub", (task,), {"__module__": "elsewhere"}), "class", "Task", "class elsewhere.Sub"),
        (lambda task: task.late, "function", "Task.late", "module service_of_census"),
        (lambda task: task.late.__globals__["helper"], "function", "helper", "module service_of_census"),
        (lambda task: task.late.__globals__, "module", "", "module service_of_census"),
    ],
    ids=["instance in containers", "bound method", "instance's attribute", "attribute's container", "generator",
         "class", "class as a key", "class outside of the release", "method", "function", "globals"],
)  # fmt: skip
async def test_a_holder_is_named(
    agent: Agent, flip: Flip, service: Any, root: str, keep: Callable[[type], object], kind: str, thing: str,
    holder: str,
) -> None:  # fmt: skip
    service.kept = keep(agent.registry.get("Task"))
    await flip()
    lines = found(await agent.census(collect=True))
    name = f"{root}.m.{thing}".rstrip(".")
    count, holders = lines[kind, name]
    assert (count, holders) == (1, {holder.format(root=root): 1})


async def test_instances_are_counted_and_what_they_hold_themselves_is_led_back_to_them(
    agent: Agent, flip: Flip, service: Any, root: str
) -> None:
    service.kept = [agent.registry.get("Task")() for _ in range(7)]
    await flip()
    census = await agent.census(collect=True)
    lines = found(census)
    assert lines.pop(("instance", f"{root}.m.Task")) == (7, {"module service_of_census": 1})
    assert lines.pop(("instance", f"{root}.m.Part")) == (7, {f"instance of {root}.m.Task": 7})
    assert lines == {}, "what belongs to the generation itself is no finding"
    assert "contents" not in census.model_dump_json()


async def test_what_a_host_has_attached_to_a_generation_is_no_holder_of_it(
    agent: Agent, flip: Flip, service: Any, root: str
) -> None:
    task = agent.registry.get("Task")
    agent.registry.active.generation.attachments["of a host"] = (App({"Task": (task, "registered")}), [])
    service.kept = task
    del task
    await flip()
    assert found(await agent.census(collect=True)) == {
        ("class", f"{root}.m.Task"): (1, {"module service_of_census": 1})
    }


async def test_a_call_in_flight_holds_by_its_coroutine_and_its_lease(agent: Agent, flip: Flip, root: str) -> None:
    entered, gate = asyncio.Event(), asyncio.Event()

    async def call() -> None:
        with agent.registry.lease() as generation:
            task = generation.get("Task")()
            entered.set()
            await task.run(gate)

    running = asyncio.create_task(call())
    await entered.wait()
    await flip()
    census = await agent.census(collect=True)
    count, holders = found(census)["instance", f"{root}.m.Task"]
    mine = f"coroutine {__name__}.{call.__qualname__}"
    assert (count, holders) == (1, {mine: 1, f"coroutine {root}.m.Task.run": 1})
    assert census.generations[0].leases == 1
    standing = agent.attest().standing
    assert [(one.current, one.leases) for one in standing] == [(False, 1), (True, 0)]
    gate.set()
    await running
    assert (await agent.census(collect=True)).generations == []


async def test_what_nobody_holds_any_more_has_no_holder_until_it_is_collected(
    agent: Agent, flip: Flip, root: str
) -> None:
    gc.disable()
    try:
        task = agent.registry.get("Task")()
        task.part = task  # a cycle
        del task
        await flip()
        assert found(await agent.census())["instance", f"{root}.m.Task"] == (1, {})
        assert (await agent.census(collect=True)).generations == []
    finally:
        gc.enable()


async def test_a_class_without_code_outlives_its_generation(
    start_agent: StartAgent, memory: MemoryCluster, root: str, reached: Reached, service: Any
) -> None:
    plain = "from pydantic import BaseModel\nclass Task(BaseModel):\n    number: int = %d\n"
    memory.commit_sources({f"{root}.m.Task": plain % 1})
    agent = await start_agent()
    service.kept = [agent.registry.get("Task")()]
    memory.commit_sources({f"{root}.m.Task": plain % 2})
    await reached(agent, 2)
    current = agent.registry.get("Task")()
    census = await agent.census(collect=True)
    assert agent.attest().generations == 1
    assert [old.number for old in census.generations] == [None]
    assert found(census) == {("instance", f"{root}.m.Task"): (1, {"module service_of_census": 1})}
    assert current.number == 2


async def test_prepared_generations_are_not_old(agent: Agent, memory: MemoryCluster, root: str) -> None:
    answer = await agent.prepare(PrepareRequest(request_id="up", definitions=dict(digests(memory, root, 2))))
    assert answer.prepared
    assert len(agent.registry.generations()) == 2
    assert (await agent.census(collect=True)).generations == []


async def test_objects_of_the_platform_that_reach_something_old(
    root: str, settings: AgentSettings, memory: MemoryCluster, reached: Reached
) -> None:
    memory.commit_sources({f"{root}.m.Task": SOURCE % 1})
    platform = Platform()
    agent = platform.agent = Agent(settings, cluster=memory, host=platform)
    async with agent:
        stale, fresh = App({}), App({})
        stale.kept = [agent.registry.get("Task")()]
        platform.live_objects = lambda: [stale, fresh]  # type: ignore[method-assign]
        memory.commit_sources({f"{root}.m.Task": SOURCE % 2})
        await reached(agent, 2)
        fresh.kept = [agent.registry.get("Task")()]
        census = await agent.census(collect=True)
        assert census.platform == [Holder(name=f"instance of {__name__}.App", count=1)]
    agent.registry.close()


async def test_time_is_bounded(agent: Agent, flip: Flip, service: Any) -> None:
    service.kept = agent.registry.get("Task")()
    await flip()
    census = take_census(agent.registry, [], [], process="p", seconds=0)
    assert not census.complete
    assert [old.objects for old in census.generations] == [[]]


async def test_objects_code_is_not_run(agent: Agent, flip: Flip, service: Any) -> None:
    class Touchy:
        def __getattribute__(self, name: str) -> Any:
            raise AssertionError(f"asked for {name}")

        def __eq__(self, other: object) -> bool:
            raise AssertionError("compared")

        def __hash__(self) -> int:
            raise AssertionError("hashed")

    service.touchy = [Touchy()]
    service.kept = agent.registry.get("Task")()
    await flip()
    census = await agent.census(collect=True)
    assert census.complete
    assert len(census.generations) == 1


async def test_over_http(agent: Agent, flip: Flip, service: Any, root: str) -> None:
    service.kept = agent.registry.get("Task")()
    await flip()
    transport = httpx.ASGITransport(app=standalone_app(agent))
    async with httpx.AsyncClient(transport=transport, base_url="http://agent") as client:
        assert (await client.get(f"{API_PREFIX}/census")).status_code == 401
        response = await client.get(
            f"{API_PREFIX}/census", params={"collect": "true"}, headers={"Authorization": "Bearer secret"}
        )
    assert response.status_code == 200, response.text
    census = Census.model_validate_json(response.content)
    assert ("instance", f"{root}.m.Task") in found(census)


async def test_memory_is_attested(agent: Agent) -> None:
    memory_bytes = agent.attest().memory_bytes
    if sys.platform != "linux":
        assert memory_bytes is None
        return
    (line,) = [line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmRSS")]
    assert memory_bytes is not None
    assert abs(memory_bytes - int(line.split()[1]) * 1024) < 20 * 1024 * 1024


def test_a_registry_without_a_release(root: str) -> None:
    registry = Registry()
    assert take_census(registry, [], [], process="p", seconds=LONG).generations == []
