"""Running a part of a workflow so that a cancellation reaches it when it should, and does not when it must not."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

from temporalio import workflow

Result = TypeVar("Result")


async def cancelled_when(condition: Callable[[], bool], body: Awaitable[Result]) -> Result:
    """Await the body; cancel it once the condition holds."""
    task = asyncio.ensure_future(body)

    async def cancel() -> None:
        await workflow.wait_condition(condition)
        task.cancel()

    watch = asyncio.ensure_future(cancel())
    try:
        return await task
    finally:
        watch.cancel()


async def shielded(body: Awaitable[Result]) -> Result:
    """Await the body to its end, whatever is cancelled meanwhile.

    ``asyncio.shield`` alone would let the workflow go on, and close, while the body still runs.
    """
    task = asyncio.ensure_future(body)
    while not task.done():
        try:
            await asyncio.shield(task)
        except asyncio.CancelledError:
            continue
    return task.result()
