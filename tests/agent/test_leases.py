"""A call that holds a lease keeps its generation for every look-up in it, wherever its work is done."""

import asyncio
import contextvars
import threading
from contextlib import nullcontext

import pytest

from taskroll_agent import DefinitionNotFound, Registry
from taskroll_agent.viewpoint import VIEW, View

from .versions import Load, Versions


def test_look_ups_without_a_lease_follow_the_flip(versions: Versions) -> None:
    assert versions.version() == 1
    versions.flip(versions.two)
    assert versions.version() == 2


def test_a_lease_keeps_its_generation_for_nested_calls(versions: Versions) -> None:
    with versions.registry.lease() as generation:
        assert generation is versions.one
        versions.flip(versions.two)
        assert versions.version() == 1
        with versions.registry.lease() as nested:
            assert nested is versions.one
            assert versions.leases() == {versions.one.number: 2}
            assert versions.registry.generation is versions.one
            assert versions.registry.active.generation is versions.two
        assert versions.version() == 1
    assert versions.version() == 2


def test_a_lease_taken_before_the_first_release_keeps_seeing_none(load: Load, root: str) -> None:
    registry = Registry()
    with registry.lease():
        registry.activate(load({f"{root}.m.Task": "class Task: pass"}), epoch=1, release="r", request_id="q")
        with pytest.raises(DefinitionNotFound), registry.lease():
            registry.get("Task")
    assert registry.get("Task")
    registry.close()


async def test_a_lease_holds_across_awaits_tasks_and_to_thread(versions: Versions) -> None:
    async def nested() -> int:
        await asyncio.sleep(0)
        return versions.version()

    with versions.registry.lease():
        versions.flip(versions.two)
        assert await nested() == 1
        assert await asyncio.create_task(nested()) == 1
        assert await asyncio.to_thread(versions.version) == 1
        loop = asyncio.get_running_loop()
        context = contextvars.copy_context()
        assert await loop.run_in_executor(None, context.run, versions.version) == 1
        assert await loop.run_in_executor(None, versions.version) == 2, "a bare executor does not inherit it"
    assert await nested() == 2


async def test_concurrent_calls_each_keep_their_own(versions: Versions) -> None:
    flipped = asyncio.Event()

    async def call() -> tuple[int, int]:
        with versions.registry.lease():
            before = versions.version()
            await flipped.wait()
            return before, versions.version()

    early = [asyncio.create_task(call()) for _ in range(5)]
    await asyncio.sleep(0)
    versions.flip(versions.two)
    late = [asyncio.create_task(call()) for _ in range(5)]
    await asyncio.sleep(0)
    assert versions.leases() == {versions.one.number: 5, versions.two.number: 5}
    flipped.set()
    assert await asyncio.gather(*early) == [(1, 1)] * 5
    assert await asyncio.gather(*late) == [(2, 2)] * 5


async def test_a_task_that_outlives_its_call_falls_back_to_the_current_generation(versions: Versions) -> None:
    ended = asyncio.Event()

    async def background() -> int:
        await ended.wait()
        return versions.version()

    with versions.registry.lease():
        task = asyncio.create_task(background())
        versions.flip(versions.two)
    ended.set()
    assert await task == 2


async def test_the_chain_of_views_does_not_grow_when_each_call_starts_the_next(versions: Versions) -> None:
    depths: list[int] = []

    async def call(left: int) -> asyncio.Task[None] | None:
        with versions.registry.lease():
            view: View | None = VIEW.get()
            depth = 0
            while view is not None:
                view, depth = view.outer, depth + 1
            depths.append(depth)
            return asyncio.create_task(call(left - 1)) if left else None  # type: ignore[arg-type]

    task = await call(50)
    while task is not None:
        task = await task  # type: ignore[assignment]
    assert max(depths[5:]) <= 2


def test_a_lease_that_ends_in_another_context_is_given_back_all_the_same(versions: Versions) -> None:
    context = versions.registry.lease()
    contextvars.copy_context().run(context.__enter__)
    versions.flip(versions.two)
    context.__exit__(None, None, None)
    assert versions.leases() == {}
    assert versions.version() == 2


def test_leases_from_many_threads_are_counted_right(versions: Versions) -> None:
    stop = threading.Event()
    wrong: list[tuple[int, int]] = []

    def call() -> None:
        while not stop.is_set():
            with versions.registry.lease() as generation:
                if generation.get("Task").version != versions.version():
                    wrong.append((generation.get("Task").version, versions.version()))

    threads = [threading.Thread(target=call) for _ in range(4)]
    for thread in threads:
        thread.start()
    for n in range(300):
        versions.flip((versions.one, versions.two)[n % 2])
    stop.set()
    for thread in threads:
        thread.join()
    assert wrong == []
    assert versions.leases() == {}


def test_look_ups_that_find_nothing_or_too_much(load: Load, root: str) -> None:
    registry = Registry()
    with pytest.raises(DefinitionNotFound, match="no class Task"):
        registry.get("Task")
    registry.activate(
        load({f"{root}.m.Task": "class Task: pass", f"{root}.n.task": "class task: pass"}),
        epoch=1, release="r", request_id="q",
    )  # fmt: skip
    with pytest.raises(LookupError, match="no definition TaskDefinition/other"):
        registry.definition("TaskDefinition/other")
    registry.close()


def test_a_class_name_that_two_definitions_have_is_asked_for_by_key(root: str) -> None:
    from taskroll_agent.loading import Loading, Revision
    from taskroll_agent.memory_cluster import task_definition

    contents = [task_definition(f"{root}.{m}", "Same", f"class Same: m = '{m}'") for m in ("a", "b")]
    contents[1] = contents[1].model_copy(update={"name": "same-b"})
    generation = Loading({str(c.key): Revision(c.digest(), c) for c in contents}).run()
    with pytest.raises(DefinitionNotFound, match="TaskDefinition/same, TaskDefinition/same-b"):
        generation.get("Same")
    assert generation.definition("TaskDefinition/same-b").cls.m == "b"


def test_callbacks_on_activate(versions: Versions) -> None:
    told: list[tuple[int, int]] = []
    remove = versions.registry.on_activate(lambda active, before: told.append((active.epoch, before.epoch)))
    versions.flip(versions.two)
    remove()
    versions.flip(versions.one)
    assert told == [(2, 1)]


@pytest.mark.parametrize("by_a_lease", [False, True], ids=["plain", "by who holds a lease"])
def test_look_ups_of_a_callback_are_of_what_is_active_now(versions: Versions, by_a_lease: bool) -> None:
    seen: list[int] = []
    versions.registry.on_activate(lambda *_: seen.append(versions.version()))
    with versions.registry.lease() if by_a_lease else nullcontext():
        versions.flip(versions.two)
        assert versions.version() == (1 if by_a_lease else 2)
    assert seen == [2]


def test_a_callback_that_fails_stops_neither_the_flip_nor_the_other_callbacks(versions: Versions) -> None:
    told: list[int] = []

    def fails(*_: object) -> None:
        raise ZeroDivisionError

    versions.registry.on_activate(fails)
    versions.registry.on_activate(lambda active, _: told.append(active.epoch))
    with pytest.raises(ZeroDivisionError):
        versions.flip(versions.two)
    assert versions.version() == 2
    assert told == [2]
