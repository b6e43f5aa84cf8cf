"""Advisory locks that the kernel drops when their holder dies."""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path

_PAUSE = 0.05


def try_lock(path: Path) -> int | None:
    """Take the lock and return its descriptor, which must stay open; None if another process holds it."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        return None
    return descriptor


def is_locked(path: Path) -> bool:
    """Tell whether a process holds the lock now."""
    if not path.exists():
        return False
    descriptor = try_lock(path)
    if descriptor is None:
        return True
    os.close(descriptor)
    return False


@contextmanager
def locked(path: Path, on_wait: Callable[[], None] | None = None) -> Generator[None]:
    """Hold the lock for a block, waiting for it as long as it takes; `on_wait` is called once if it must wait."""
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor = try_lock(path)
    if descriptor is None and on_wait:
        on_wait()
    while descriptor is None:
        time.sleep(_PAUSE)
        descriptor = try_lock(path)
    try:
        yield
    finally:
        os.close(descriptor)
