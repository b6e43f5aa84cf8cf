"""Keeps the garbage collector out of moments in which an event loop has to wait."""

import gc
from collections.abc import Generator
from contextlib import contextmanager


@contextmanager
def uncollected() -> Generator[None]:
    """Within the block no collection begins by itself: a full one takes longer than a flip, in a process with much.

    One that is due comes right after it. The collector has one switch for the whole process; where it is off already,
    it stays off.
    """
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()
