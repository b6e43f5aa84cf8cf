"""Read, decide, write with a precondition; and once more from the start where somebody wrote in between."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from typing import TypeVar

from .errors import AlreadyExists, Conflict, NotFound

Result = TypeVar("Result")

# Of n writers of one object at the same moment at least one gets through per round, so n rounds are enough for n of
# them. The pauses spread them out: 50 contenders for the fence need 10 rounds at most on two cores.
ATTEMPTS = 40
_FIRST_PAUSE = 0.005
_LONGEST_PAUSE = 0.25


async def rereading(attempt: Callable[[], Awaitable[Result]], *, attempts: int = ATTEMPTS) -> Result:
    """Run `attempt`, which reads and writes, until its write meets the state that it read.

    Raises:
        Conflict: where others were quicker each time. Retryable.
    """
    pause = _FIRST_PAUSE
    for _ in range(attempts - 1):
        try:
            return await attempt()
        except (Conflict, AlreadyExists):
            pass
        except NotFound as error:
            # The object vanished between read and write. A create that answers 404 speaks of its namespace.
            if error.verb == "create":
                raise
        await asyncio.sleep(random.uniform(0, pause))  # noqa: S311 - spreads contenders, no secret
        pause = min(pause * 2, _LONGEST_PAUSE)
    return await attempt()
