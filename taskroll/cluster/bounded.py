"""Many calls, a few at a time. Whatever has been started is settled before the caller goes on."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")

# The API server's default priority level gives one user some tens of seats; 8 leaves room for others, and more was not
# faster on two cores.
IN_FLIGHT = 8


async def run_bounded(
    items: Sequence[Item], action: Callable[[Item], Awaitable[Result]], *, limit: int = IN_FLIGHT
) -> list[Result]:
    """Run `action` on each item, started in order; return the results in order.

    After a failure nothing more is started; when all that had been started is settled, the failure of the first failed
    item is raised.
    """
    results, failures = await _run(items, action, limit, stop_early=True)
    if failures:
        raise failures[min(failures)]
    return [results[index] for index in range(len(items))]


async def settle_bounded(
    items: Sequence[Item], action: Callable[[Item], Awaitable[Result]], *, limit: int = IN_FLIGHT
) -> tuple[list[Result], list[Exception]]:
    """Run `action` on each item whatever becomes of the others; return results and failures, in the items' order."""
    results, failures = await _run(items, action, limit, stop_early=False)
    return [results[index] for index in sorted(results)], [failures[index] for index in sorted(failures)]


async def _run(
    items: Sequence[Item], action: Callable[[Item], Awaitable[Result]], limit: int, *, stop_early: bool
) -> tuple[dict[int, Result], dict[int, Exception]]:
    results: dict[int, Result] = {}
    failures: dict[int, Exception] = {}
    remaining = iter(enumerate(items))

    async def work() -> None:
        for index, item in remaining:
            try:
                results[index] = await action(item)
            except Exception as error:  # noqa: BLE001 - kept, and raised by the caller once all are settled
                failures[index] = error
            if failures and stop_early:
                return

    workers = [asyncio.create_task(work()) for _ in range(min(limit, len(items)))]
    try:
        await asyncio.gather(*workers)
    finally:
        for worker in workers:
            worker.cancel()
        await asyncio.gather(*workers, return_exceptions=True)
    return results, failures
