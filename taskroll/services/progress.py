"""Counts of a fan-out, for an activity's heartbeats and the workflow's current details."""

from collections.abc import Callable

OnProgress = Callable[[int, int, str], None]
"""Called with (done, total, note) as replicas are dealt with. It must not block: it runs on the event loop."""


def silent(done: int, total: int, note: str) -> None:
    """Progress that nobody looks at."""


class Tally:
    """Counts replicas that are dealt with in one stage of the work and passes each count on."""

    def __init__(self, total: int, note: str, on_progress: OnProgress, done: int = 0) -> None:
        self._done = done
        self._total = total
        self._note = note
        self._on_progress = on_progress
        on_progress(done, total, note)

    def count(self, *_: object) -> None:
        """One replica more. Takes any arguments, so that it can stand as a fan-out's `on_done`."""
        self._done += 1
        self._on_progress(self._done, self._total, self._note)
