"""The moment by which work has to end, carried from an activity down to a single HTTP call."""

import asyncio
import contextlib
import time


class Deadline:
    """A moment on the monotonic clock. It can be called off early, which ends all pauses and prevents new calls.

    Made in the activity, from what is left of its own time; passed down instead of seconds, so that a call deep inside
    never gets more time than the whole has left. One per piece of work: a cancelled fan-out calls it off for good, so
    the compensation that follows makes its own.
    """

    def __init__(self, at: float) -> None:
        self._at = at
        self._stopped = asyncio.Event()

    @classmethod
    def after(cls, seconds: float) -> "Deadline":
        """The moment that many seconds from now."""
        return cls(time.monotonic() + seconds)

    def capped(self, seconds: float) -> float:
        """Seconds for one call: those asked for, but no more than are left."""
        return min(seconds, self.remaining())

    def remaining(self) -> float:
        """Seconds left, at least 0."""
        return 0.0 if self._stopped.is_set() else max(0.0, self._at - time.monotonic())

    @property
    def is_over(self) -> bool:
        """True once the moment has passed or the work was called off."""
        return self.remaining() <= 0.0

    def stop(self) -> None:
        """Call the work off: pauses end, nothing new starts. What runs is left to end by itself."""
        self._stopped.set()

    async def pause(self, seconds: float) -> bool:
        """Wait that long, or until the deadline; return whether there is time left to go on."""
        timeout = self.capped(seconds)
        if timeout > 0:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._stopped.wait(), timeout)
        return not self.is_over
