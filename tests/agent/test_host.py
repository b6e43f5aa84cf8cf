"""A host goes along with each flip, or keeps it from happening."""

import asyncio
import gc
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from typing import Any

import pytest

from taskroll_agent import Agent, AgentSettings, Generation, Refused
from taskroll_agent.attestation import REPLACED
from taskroll_agent.contracts import ActivateRequest, ImportProblem, PrepareRequest, ReleasePointer
from taskroll_agent.memory_cluster import MemoryCluster
from taskroll_agent.registry import Active
from tests.agent.sources import digests, source, version

Reached = Callable[[Agent, int], Awaitable[None]]
Until = Callable[[Callable[[], Any]], Awaitable[Any]]
Activation = Callable[[ReleasePointer], ActivateRequest]
KEY = "TaskDefinition/task"


class Platform:
    """A registry of its own, as a platform has, and what its adapter says."""

    def __init__(self) -> None:
        self.classes: dict[str, type | None] = {}
        self.problems: list[ImportProblem] = []
        self.fails: BaseException | None = None
        self.check_fails: Exception | None = None
        self.agent: Agent | None = None
        self.seen: list[tuple[object, object]] = []
        """In each flip: the version that look-ups showed, and the epoch that the registry had."""
        self.makes = 0
        """Objects that the garbage collector tracks, made by a flip and kept."""
        self.collections: list[int] = []
        """How often the garbage collector ran in each flip."""
        self.took_ms = 0.0

    async def check(self, after: Generation, before: Generation) -> Sequence[ImportProblem]:
        assert after is not before
        if self.check_fails is not None:
            raise self.check_fails
        return self.problems

    def flip(self, after: Active, before: Active) -> None:
        assert self.agent is not None
        started, before = time.perf_counter(), collections()
        self.seen.append((self.agent.registry.get("Task").version, self.agent.registry.active.epoch))
        self.kept = [[] for _ in range(self.makes)]
        self.collections.append(collections() - before)
        self.took_ms = (time.perf_counter() - started) * 1000
        if self.fails is not None:
            raise self.fails
        self.classes = {str(loaded.key): loaded.cls for loaded in after.generation}

    def live_classes(self) -> Mapping[str, type | None]:
        return self.classes

    def live_objects(self) -> Iterable[object]:
        return [self.classes]


def collections() -> int:
    """How often the garbage collector has run in this process."""
    return sum(generation["collections"] for generation in gc.get_stats())


@pytest.fixture
def platform() -> Platform:
    return Platform()


@pytest.fixture
async def agent(platform: Platform, root: str, settings: AgentSettings, memory: MemoryCluster) -> Any:
    memory.commit_sources(source(root, 1))
    made = platform.agent = Agent(settings, cluster=memory, host=platform)
    async with made:
        yield made
    made.registry.close()


async def test_it_flips_with_the_registry(
    agent: Agent, platform: Platform, memory: MemoryCluster, root: str, reached: Reached
) -> None:
    memory.commit_sources(source(root, 2))
    await reached(agent, 2)
    assert platform.seen == [(1, 0), (2, 1)], "it sees the new classes before anybody else does"
    assert platform.classes[KEY] is agent.registry.get("Task")


async def test_what_it_cannot_carry_over_is_not_prepared(
    agent: Agent, platform: Platform, memory: MemoryCluster, root: str
) -> None:
    request = PrepareRequest(request_id="up", definitions=dict(digests(memory, root, 2)))
    problem = ImportProblem(definition=KEY, module=f"{root}.m", error="ValidationError", message="app-1.encoder: fps")
    platform.problems = [problem]
    answer = await agent.prepare(request)
    assert (answer.prepared, answer.problems) == (False, [problem])
    assert agent.attest().prepared == []
    platform.problems = []
    assert (await agent.prepare(request)).prepared


async def test_a_check_that_fails_itself_prepares_nothing(
    agent: Agent, platform: Platform, memory: MemoryCluster, root: str
) -> None:
    platform.check_fails = ZeroDivisionError("of the platform's own")
    answer = await agent.prepare(PrepareRequest(request_id="up", definitions=dict(digests(memory, root, 2))))
    assert not answer.prepared
    assert [(problem.definition, problem.error) for problem in answer.problems] == [("Platform", "ZeroDivisionError")]


async def test_a_flip_that_it_refuses_leaves_everything(
    agent: Agent, platform: Platform, memory: MemoryCluster, root: str, activation: Activation, until: Until,
    reached: Reached,
) -> None:  # fmt: skip
    memory.silent_watch = True
    platform.fails = ValueError("app-1 has no fps")
    pointer = memory.commit_sources(source(root, 2))
    with pytest.raises(Refused, match="app-1 has no fps") as refused:
        await agent.activate(activation(pointer))
    assert refused.value.reason == "not_loadable"
    assert (version(agent), agent.registry.active.epoch) == (1, 1)
    assert agent.attest(full=True).definitions == agent.registry.active.generation.digests

    memory.silent_watch = False
    memory.move(pointer)
    assert "app-1 has no fps" in await until(lambda: agent.problem)
    assert (version(agent), agent.attest().pointer_epoch) == (1, 2)
    platform.fails = None
    await reached(agent, 2)
    assert (version(agent), agent.problem) == (2, None), "it has tried again by itself"


@pytest.mark.parametrize("error", [SystemExit("of the platform"), asyncio.CancelledError("of the platform")])
async def test_a_flip_that_ends_with_no_exception_proper_is_refused_likewise(
    agent: Agent, platform: Platform, memory: MemoryCluster, root: str, reached: Reached, until: Until,
    error: BaseException,
) -> None:  # fmt: skip
    platform.fails = error
    memory.commit_sources(source(root, 2))
    assert "of the platform" in await until(lambda: agent.problem)
    assert version(agent) == 1
    platform.fails = None
    await reached(agent, 2)


@pytest.mark.parametrize("is_on", [True, False], ids=["on", "off"])
@pytest.mark.parametrize("fails", [True, False], ids=["it fails", "it flips"])
async def test_no_garbage_is_collected_in_a_flip(
    agent: Agent, platform: Platform, memory: MemoryCluster, root: str, activation: Activation, is_on: bool, fails: bool
) -> None:
    memory.silent_watch = True
    pointer = memory.commit_sources(source(root, 2))
    platform.makes = 100 * gc.get_threshold()[0]
    platform.fails = ValueError("not now") if fails else None
    if not is_on:
        gc.disable()
    try:
        if fails:
            with pytest.raises(Refused):
                await agent.activate(activation(pointer))
        else:
            await agent.activate(activation(pointer))
        assert gc.isenabled() is is_on
    finally:
        gc.enable()
    assert platform.collections[1:] == [0]


async def test_how_long_the_latest_flip_took_is_attested(
    agent: Agent, platform: Platform, memory: MemoryCluster, root: str, reached: Reached
) -> None:
    first = agent.attest().flip_ms
    assert first is not None
    platform.makes = 100_000
    memory.commit_sources(source(root, 2))
    await reached(agent, 2)
    took = agent.attest().flip_ms
    assert took is not None
    assert took >= platform.took_ms


@pytest.mark.parametrize(
    ("classes", "attested"),
    [
        ({KEY: type("Task", (), {})}, {KEY: REPLACED}),
        ({KEY: None}, {KEY: REPLACED}),
        ({"TaskDefinition/gone": type("Gone", (), {})}, {"TaskDefinition/gone": REPLACED}),
        ({"TaskDefinition/gone": None}, {}),
        ({}, {}),
    ],
    ids=["another class", "no class", "one that no release has", "none that no release has", "not compared"],
)
async def test_what_the_platform_uses_is_attested(
    agent: Agent, platform: Platform, classes: dict[str, type | None], attested: dict[str, str]
) -> None:
    platform.classes = classes
    expected = {**agent.registry.active.generation.digests, **attested}
    assert agent.attest(full=True).definitions == expected


async def test_before_the_first_release_the_platform_is_left_out(
    platform: Platform, settings: AgentSettings, memory: MemoryCluster
) -> None:
    platform.classes = {KEY: type("Task", (), {})}
    async with Agent(settings, cluster=memory, host=platform) as agent:
        await asyncio.sleep(0)
        assert agent.attest(full=True).definitions == {}
        assert agent.attest().flip_ms is None
