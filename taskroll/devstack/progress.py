"""What a person sees while something takes long: on stderr, a live line in a terminal, else a line now and then."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager

_LINE_EVERY = 15.0
_TICK = 1.0

Say = Callable[[str], None]


def say(text: str) -> None:
    """Print one line to stderr."""
    print(text, file=sys.stderr, flush=True)  # noqa: T201 - progress is for stderr


def silent(_text: str) -> None:
    """Print nothing."""


@contextmanager
def ticking(text: str, detail: Callable[[], str] = str) -> Generator[None]:
    """Show that `text` is under way and for how long, with what `detail` says at the moment, until the block ends."""
    started, ended = time.monotonic(), threading.Event()

    def elapsed() -> str:
        seconds = int(time.monotonic() - started)
        return f"{seconds // 60}:{seconds % 60:02d}"

    def in_terminal() -> None:
        while not ended.wait(_TICK):
            sys.stderr.write(f"\r\x1b[K{text} {elapsed()} {detail()}")
            sys.stderr.flush()

    def in_lines() -> None:
        while not ended.wait(_LINE_EVERY):
            say(f"{text} {elapsed()} {detail()}".rstrip())

    terminal = sys.stderr.isatty()
    thread = threading.Thread(target=in_terminal if terminal else in_lines, daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
        if terminal:
            sys.stderr.write("\r\x1b[K")
        say(f"{text} ended after {elapsed()}")
