"""A function, a generator or a coroutine that is leased sees one generation from its call to its end."""

import asyncio
import functools
from collections.abc import AsyncIterator, Callable, Generator, Iterator
from typing import Any

import pytest

from .versions import Versions


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
