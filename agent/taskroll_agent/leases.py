"""Leases: a call holds one, and for as long as it does, every look-up in it answers from the same generation."""

import asyncio
import functools
import inspect
from collections.abc import AsyncGenerator, Callable, Generator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar, cast

from .viewpoint import VIEW, View

if TYPE_CHECKING:
    from .generation import Generation
    from .registry import Registry

P = ParamSpec("P")
T = TypeVar("T")


class Lease(View):
    """A hold on one generation of one registry. Emptied when it ends, whoever still has this object in a context."""

    __slots__ = ("generation", "registry")

    def __init__(self, registry: "Registry", generation: "Generation", outer: View | None) -> None:
        super().__init__(generation.module_set, outer)
        self.registry: Registry | None = registry
        self.generation: Generation | None = generation

    def end(self) -> "Generation | None":
        """Empty it; returns the generation the first time, None after that."""
        generation, self.generation, self.registry, self.modules = self.generation, None, None, None
        return generation


def active_view() -> View | None:
    """The innermost view of this context that has not ended.

    Ended ones are taken out of the chain on the way. Else it would grow without bound where each call starts a task
    that makes the next one.
    """
    first = _skip_ended(VIEW.get())
    view = first
    while view is not None:
        view.outer = _skip_ended(view.outer)
        view = view.outer
    return first


def _skip_ended(view: View | None) -> View | None:
    while view is not None and view.modules is None:
        view = view.outer
    return view


def held_generation(registry: "Registry") -> "Generation | None":
    """The generation of that registry that this context holds a lease on."""
    view = VIEW.get()
    while view is not None:
        if isinstance(view, Lease) and view.registry is registry:
            return view.generation
        view = view.outer
    return None


@contextmanager
def bound(view: View) -> Generator[None]:
    """Make `view` that of this context."""
    token = VIEW.set(view)
    try:
        yield
    finally:
        # ValueError: ended in another context than it began in, as frameworks do with generators. There the view stays
        # bound, but it ends with its lease.
        with suppress(ValueError):
            VIEW.reset(token)


def leased(registry: "Registry", function: Callable[P, T]) -> Callable[P, T]:
    """Wrap a function so that each call holds a lease: until it returns, or a generator until it ends or is closed.

    What a plain function returns may be the rest of its call, as with an ordinary wrapper around a coroutine function
    or an object with an asynchronous ``__call__``: an awaitable or a generator goes on with the same generation.
    """
    if inspect.isasyncgenfunction(function):
        wrapper = _async_generator(registry, function)
    elif inspect.isgeneratorfunction(function):
        wrapper = _generator(registry, function)
    elif inspect.iscoroutinefunction(function):
        wrapper = _coroutine(registry, function)
    else:
        wrapper = _function(registry, function)
    return cast("Callable[P, T]", functools.wraps(function)(wrapper))


def _function(registry: "Registry", function: Callable[..., Any]) -> Callable[..., Any]:
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        result: Any = None
        lease = registry.take_lease()
        generation = lease.generation
        try:
            with bound(lease):
                result = function(*args, **kwargs)
        finally:
            future = _future(result)
            if future is None:
                registry.give_back(lease)
            else:  # it runs already, in a context with this lease
                future.add_done_callback(lambda _: registry.give_back(lease))
        if future is not None:
            return future
        for is_one, wrap in (
            (inspect.isasyncgen, _async_generator),
            (inspect.isawaitable, _coroutine),
            (inspect.isgenerator, _generator),
        ):
            if is_one(result):
                return wrap(registry, lambda: result, generation)()
        return result

    return wrapper


def _future(result: object) -> "asyncio.Future[Any] | None":
    return cast("asyncio.Future[Any]", result) if isinstance(result, asyncio.Future) else None


def _coroutine(
    registry: "Registry", function: Callable[..., Any], generation: "Generation | None" = None
) -> Callable[..., Any]:
    async def wrapper(*args: Any, **kwargs: Any) -> Any:
        lease = registry.take_lease(generation)
        try:
            with bound(lease):
                return await function(*args, **kwargs)
        finally:
            registry.give_back(lease)

    return wrapper


# A generator runs in its caller's context. The lease is bound in each of its steps only, so that between them the
# caller's own look-ups are what they were.


def _generator(
    registry: "Registry", function: Callable[..., Any], generation: "Generation | None" = None
) -> Callable[..., Generator[Any, Any, Any]]:
    def wrapper(*args: Any, **kwargs: Any) -> Generator[Any, Any, Any]:
        lease = registry.take_lease(generation)
        inner: Generator[Any, Any, Any] = function(*args, **kwargs)
        step: Callable[[], Any] = functools.partial(inner.send, None)
        try:
            while True:
                with bound(lease):
                    try:
                        item = step()
                    except StopIteration as stop:
                        return stop.value
                try:
                    step = functools.partial(inner.send, (yield item))
                except GeneratorExit:
                    raise
                except BaseException as error:  # noqa: BLE001  handed on to the generator, which decides
                    step = functools.partial(inner.throw, error)
        finally:
            with bound(lease):
                inner.close()
            registry.give_back(lease)

    return wrapper


def _async_generator(
    registry: "Registry", function: Callable[..., Any], generation: "Generation | None" = None
) -> Callable[..., AsyncGenerator[Any, Any]]:
    async def wrapper(*args: Any, **kwargs: Any) -> AsyncGenerator[Any, Any]:
        lease = registry.take_lease(generation)
        inner: AsyncGenerator[Any, Any] = function(*args, **kwargs)
        step: Callable[[], Any] = functools.partial(inner.asend, None)
        try:
            while True:
                with bound(lease):
                    try:
                        item = await step()
                    except StopAsyncIteration:
                        return
                try:
                    step = functools.partial(inner.asend, (yield item))
                except GeneratorExit:
                    raise
                except BaseException as error:  # noqa: BLE001  handed on to the generator, which decides
                    step = functools.partial(inner.athrow, error)
        finally:
            with bound(lease):
                await inner.aclose()
            registry.give_back(lease)

    return wrapper
