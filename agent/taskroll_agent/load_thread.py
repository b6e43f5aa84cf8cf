"""Runs a load in a thread of its own, and stops waiting for one that does not end."""

import asyncio
import logging
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from .errors import LoadFailed
from .generation import Generation
from .loading import Loading

_log = logging.getLogger(__name__)


async def run_in_thread(loading: Loading, patience: float) -> Generation:
    """Load a generation off the event loop.

    A daemon thread, not the loop's executor: that one belongs to the service, and a module that never ends must neither
    take one of its threads away nor hold up the end of the process.

    Cancelled, it leaves the thread alone likewise.

    Raises:
        LoadFailed: also where it takes longer than `patience` seconds. The thread is then left alone: it ends by itself
            at its next import of a released module, and its result goes nowhere.
    """
    loop = asyncio.get_running_loop()
    result: asyncio.Future[Generation] = loop.create_future()

    def settle(how: Callable[[Any], None], value: Any) -> None:
        if not result.done():
            how(value)

    def run() -> None:
        try:
            outcome: tuple[Callable[[Any], None], Any] = result.set_result, loading.run()
        except BaseException as error:  # noqa: BLE001  it is raised where the load is waited for
            outcome = result.set_exception, error
        with suppress(RuntimeError):  # the loop was closed meanwhile: nobody waits
            loop.call_soon_threadsafe(settle, *outcome)

    threading.Thread(target=run, name="taskroll-load", daemon=True).start()
    try:
        async with asyncio.timeout(patience):
            return await result
    except asyncio.CancelledError:
        loading.abandon()
        raise
    except TimeoutError:
        loading.abandon()
        problems = loading.unfinished(patience)
        _log.error("load abandoned: %s", problems[0].message, extra={"definition": problems[0].definition})
        raise LoadFailed(problems) from None
