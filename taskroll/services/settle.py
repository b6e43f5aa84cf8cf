"""Run many calls side by side, and never leave one running behind.

A call that was sent may take effect although nobody waits for it any more. So a cancelled fan-out starts nothing new,
waits for what it had started (each call is bounded by its own time-out), and only then lets the cancellation through:
a compensation that follows finds no call of ours still under way.
"""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Sequence
from typing import Any, TypeVar

from .deadline import Deadline

Item = TypeVar("Item")
T = TypeVar("T")


async def settle_all(parts: Iterable[Coroutine[Any, Any, T]], deadline: Deadline) -> list[T]:
    """Run the parts side by side and return their results in order, once all of them have ended.

    Cancelled meanwhile, it calls the deadline off, waits until every part has ended by itself, then raises
    `asyncio.CancelledError`. An error of a part is raised after all parts have ended: the first in order.
    """
    tasks = [asyncio.ensure_future(part) for part in parts]
    pending: set[asyncio.Future[T]] = set(tasks)
    cancelled: asyncio.CancelledError | None = None
    while pending:
        try:
            _, pending = await asyncio.wait(pending)
        except asyncio.CancelledError as error:
            # asyncio.wait leaves the tasks alone when it is cancelled itself.
            cancelled = error
            deadline.stop()
            pending = {task for task in pending if not task.done()}
    if cancelled is not None:
        _mark_errors_as_seen(tasks)
        raise cancelled
    return [task.result() for task in tasks]


async def for_each(
    items: Sequence[Item],
    call: Callable[[Item, Deadline], Awaitable[T]],
    deadline: Deadline,
    on_done: Callable[[Item, T], None] | None = None,
) -> list[tuple[Item, T]]:
    """Make one call for each item, all side by side, and return (item, result) in the order of the items.

    The deadline is called off when the fan-out is cancelled: see `settle_all`. How many run at
    once is bounded by who makes the calls (`AgentCalls`), for the whole process.

    Args:
        items: What to call.
        call: Makes one call. It bounds itself by a time-out and returns failures as values.
        deadline: Handed to each call.
        on_done: Told each result as it comes.
    """

    async def one(item: Item) -> tuple[Item, T]:
        result = await call(item, deadline)
        if on_done is not None:
            on_done(item, result)
        return item, result

    return await settle_all((one(item) for item in items), deadline)


def _mark_errors_as_seen(tasks: Iterable[asyncio.Future[Any]]) -> None:
    for task in tasks:
        if not task.cancelled():
            task.exception()
