"""A deadline that passes after so many pauses, so that a test of giving up depends on no clock."""

import asyncio
import time

from taskroll.services.deadline import Deadline


class Rounds(Deadline):
    """Each pause takes no time; the last one uses up what was left."""

    def __init__(self, pauses: int) -> None:
        super().__init__(time.monotonic() + 600)
        self._left = pauses

    async def pause(self, seconds: float) -> bool:
        self._left -= 1
        if self._left <= 0:
            self.stop()
        await asyncio.sleep(0)
        return not self.is_over
