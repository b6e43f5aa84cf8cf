"""A call that holds a lease keeps its generation for every look-up in it, wherever its work is done."""

import asyncio
import contextvars
import functools
import threading
from collections.abc import AsyncIterator, Callable, Generator, Iterator, Mapping
from contextlib import nullcontext
from typing import Any

import pytest

from taskroll_agent import DefinitionNotFound, Generation, Registry
from taskroll_agent.viewpoint import VIEW, View

Load = Callable[[Mapping[str, str]], Generation]


class Versions:
    """A registry with two generations to flip between."""

    def __init__(self, load: Load, root: str) -> None:
        self.registry = Registry()
        self.one, self.two = (load({f"{root}.m.Task": f"class Task:\n    version = {n}\n"}) for n in (1, 2))
        self.flip(self.one)

    def flip(self, generation: Generation) -> None:
        self.registry.activate(generation, epoch=self.registry.active.epoch + 1, release="r", request_id="q")

    def version(self) -> int:
        return self.registry.get("Task").version

    def leases(self) -> dict[int, int]:
        return {info.number: info.leases for info in self.registry.generations() if info.leases}


@pytest.fixture
def versions(load: Load, root: str) -> Iterator[Versions]:
    made = Versions(load, root)
    yield made
    assert made.leases() == {}, "a lease was not given back"
    made.registry.close()


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


def test_the_decorator_on_a_function(versions: Versions) -> None:
    @versions.registry.leased
    def call(flip: bool) -> tuple[int, int]:
        """Documented."""
        before = versions.version()
        if flip:
            versions.flip(versions.two)
        return before, versions.version()

    assert call(flip=True) == (1, 1)
    assert call(flip=False) == (2, 2)
    assert (call.__name__, call.__doc__) == ("call", "Documented.")


async def test_the_decorator_on_a_coroutine(versions: Versions) -> None:
    @versions.registry.leased
    async def call() -> tuple[int, int]:
        before = versions.version()
        versions.flip(versions.two)
        await asyncio.sleep(0)
        return before, versions.version()

    assert await call() == (1, 1)
    with pytest.raises(ZeroDivisionError):

        @versions.registry.leased
        async def fails() -> None:
            raise ZeroDivisionError

        await fails()


def test_the_decorator_on_a_generator(versions: Versions) -> None:
    seen: list[object] = []

    @versions.registry.leased
    def items() -> Iterator[int]:
        try:
            seen.append((yield versions.version()))
            try:
                yield versions.version()
            except KeyError as error:
                seen.append(error.args)
            yield versions.version()
        finally:
            seen.append(f"closed with {versions.version()}")

    generator = items()
    assert next(generator) == 1
    versions.flip(versions.two)
    assert versions.version() == 2, "between the steps the caller's look-ups are its own"
    assert generator.send("sent") == 1  # type: ignore[attr-defined]
    assert generator.throw(KeyError("thrown")) == 1  # type: ignore[attr-defined]
    generator.close()  # type: ignore[attr-defined]
    assert seen == ["sent", ("thrown",), "closed with 1"]
    assert list(items()) == [2, 2, 2]


async def test_the_decorator_on_an_asynchronous_generator(versions: Versions) -> None:
    closed: list[int] = []

    @versions.registry.leased
    async def items() -> AsyncIterator[int]:
        try:
            for _ in range(3):
                await asyncio.sleep(0)
                yield versions.version()
        finally:
            closed.append(versions.version())

    seen: list[int] = []
    async for item in items():
        seen.append(item)
        versions.flip(versions.two)
        assert versions.version() == 2
    assert seen == [1, 1, 1]
    early = items()
    assert await anext(early) == 2
    await early.aclose()  # type: ignore[attr-defined]
    assert closed == [1, 2]
    thrown = items()
    await anext(thrown)
    with pytest.raises(KeyError):
        await thrown.athrow(KeyError("x"))  # type: ignore[attr-defined]


async def twice(version: Callable[[], int], flip: Callable[[], None]) -> list[int]:
    seen = [version()]
    flip()
    await asyncio.sleep(0)
    return [*seen, version()]


def plain(function: Callable[..., Any]) -> Callable[..., Any]:
    """An ordinary decorator, as for logging."""

    @functools.wraps(function)
    def wrapper(*args: Any) -> Any:
        return function(*args)

    return wrapper


class Asynchronous:
    async def __call__(self, *args: Any) -> list[int]:
        return await twice(*args)


class Awaitable:
    def __init__(self, *args: Any) -> None:
        self.args = args

    def __await__(self) -> Generator[Any, Any, list[int]]:
        return twice(*self.args).__await__()


@pytest.mark.parametrize(
    "function",
    [
        plain(twice),
        Asynchronous(),
        Awaitable,
        functools.partial(twice),
        lambda *args: asyncio.create_task(twice(*args)),
    ],
    ids=["wrapped", "an object", "an awaitable", "partial", "a task"],
)
async def test_the_decorator_on_what_only_returns_a_coroutine(versions: Versions, function: Callable[..., Any]) -> None:
    call = versions.registry.leased(function)
    assert await call(versions.version, lambda: versions.flip(versions.two)) == [1, 1]
    await asyncio.sleep(0)  # where a task tells that it is done
    assert versions.leases() == {}
    assert versions.version() == 2


async def test_the_decorator_on_what_only_returns_a_generator(versions: Versions) -> None:
    def items() -> Iterator[int]:
        for _ in range(2):
            yield versions.version()

    async def asynchronous() -> AsyncIterator[int]:
        for item in items():
            yield item

    seen: list[int] = []
    for item in versions.registry.leased(plain(items))():
        seen.append(item)
        versions.flip(versions.two)
    async for item in versions.registry.leased(plain(asynchronous))():
        seen.append(item)
        versions.flip(versions.one)
    assert seen == [1, 1, 2, 2]


async def test_a_flip_between_the_call_and_its_first_step(versions: Versions) -> None:
    def call() -> Any:
        version = versions.version()

        async def rest() -> tuple[int, int]:
            return version, versions.version()

        return rest()

    rest = versions.registry.leased(call)()
    versions.flip(versions.two)
    assert await rest == (1, 1)


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
