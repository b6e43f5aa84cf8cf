"""Faults in the worker: what happens before or after an activity is chosen by the test."""

import asyncio
from collections import defaultdict
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any, Literal

from temporalio import activity
from temporalio.exceptions import ApplicationError
from temporalio.worker import ActivityInboundInterceptor, ExecuteActivityInput, Interceptor

Moment = Literal["before", "after"]
Fault = Callable[[], Awaitable[None]]


@dataclass
class Hold:
    """A step that stands still until the test lets it go on."""

    reached: asyncio.Event = field(default_factory=asyncio.Event)
    released: asyncio.Event = field(default_factory=asyncio.Event)

    async def __call__(self) -> None:
        self.reached.set()
        await self.released.wait()

    def release(self) -> None:
        self.released.set()


class Faults(Interceptor):
    """Runs what was arranged, once for each arrangement, at the first time that the step comes by."""

    def __init__(self) -> None:
        self._arranged: dict[tuple[str, Moment], list[Fault]] = defaultdict(list)
        self.runs: list[tuple[str, int]] = []
        """Name and attempt of every activity that was started."""

    def arrange(self, step: str, moment: Moment, fault: Fault) -> None:
        self._arranged[step, moment].append(fault)

    def hold(self, step: str, moment: Moment = "before") -> Hold:
        """Let the step stand still at that moment."""
        hold = Hold()
        self.arrange(step, moment, hold)
        return hold

    def fail(self, step: str, moment: Moment = "before", *, code: str = "Seeded", times: int = 1) -> None:
        """Let the step fail for good; after its effect where the moment is ``after``."""

        async def fault() -> None:
            raise ApplicationError("seeded fault", type=code, non_retryable=True)

        for _ in range(times):
            self.arrange(step, moment, fault)

    def lose_answer(self, step: str) -> None:
        """Let the step have its effect, and its answer be lost: it is tried again."""

        async def fault() -> None:
            raise ApplicationError("the answer was lost", type="Lost")

        self.arrange(step, "after", fault)

    async def happen(self, step: str, moment: Moment) -> None:
        arranged = self._arranged[step, moment]
        if arranged:
            await arranged.pop(0)()

    def intercept_activity(self, next: ActivityInboundInterceptor) -> ActivityInboundInterceptor:
        return _FaultyActivity(next, self)


class _FaultyActivity(ActivityInboundInterceptor):
    def __init__(self, next: ActivityInboundInterceptor, faults: Faults) -> None:
        super().__init__(next)
        self._faults = faults

    async def execute_activity(self, input: ExecuteActivityInput) -> Any:
        info = activity.info()
        self._faults.runs.append((info.activity_type, info.attempt))
        beat = asyncio.create_task(_beat())
        try:
            await self._faults.happen(info.activity_type, "before")
            result = await super().execute_activity(input)
            await self._faults.happen(info.activity_type, "after")
        finally:
            beat.cancel()
        return result


async def _beat() -> None:
    """A step that is held must not look like one whose worker died."""
    while True:
        activity.heartbeat()
        await asyncio.sleep(1)
