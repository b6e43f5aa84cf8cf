"""Counts of a fan-out, for an activity's heartbeats and the workflow's current details."""

from collections.abc import Callable, Sequence

from .replica import Replica

OnProgress = Callable[[int, int, str], None]
"""Called with (done, total, note) as replicas are dealt with. It must not block: it runs on the event loop."""

NAMED = 3
"""So many replicas that are left are named."""


def silent(done: int, total: int, note: str) -> None:
    """Progress that nobody looks at."""


class Tally:
    """Counts replicas that are dealt with in one stage of the work, and passes each count on with who is left."""

    def __init__(
        self, replicas: Sequence[Replica], note: str, on_progress: OnProgress, todo: Sequence[Replica] | None = None
    ) -> None:
        self._total = len(replicas)
        self._left = list(replicas if todo is None else todo)
        self._note = note
        self._on_progress = on_progress
        self._report()

    def count(self, replica: object, answer: object = None) -> None:
        """One replica more. Can stand as a fan-out's `on_done`."""
        del answer
        self._left = [each for each in self._left if each is not replica]
        self._report()

    def _report(self) -> None:
        done = self._total - len(self._left)
        note = self._note
        if done > 0 and 0 < len(self._left) <= NAMED:
            note += f", waits for {', '.join(f'{replica.service}/{replica.pod}' for replica in self._left)}"
        self._on_progress(done, self._total, note)
