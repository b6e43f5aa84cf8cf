"""The compensations of a saga: registered before each step acts, run in reverse order."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from temporalio import workflow
from temporalio.exceptions import ApplicationError

with workflow.unsafe.imports_passed_through():
    from taskroll.models.errors import TakenOver

Compensation = Callable[[], Awaitable[None]]


@dataclass
class Compensations:
    """Last in, first out. One that fails does not stop the others; it stays on the list and can be tried again.

    A compensation must do nothing where its step did nothing: it is registered before the step acts, since a step that
    fails, or whose answer is lost, may have had its effect all the same.
    """

    _registered: list[tuple[str, Compensation]] = field(default_factory=list[tuple[str, Compensation]])

    def register(self, name: str, compensation: Compensation) -> None:
        self._registered.append((name, compensation))

    def clear(self) -> None:
        """Forget all: the saga is through, and nothing is to be taken back."""
        self._registered.clear()

    async def run(self) -> dict[str, str]:
        """Run all that are registered, last first, and keep those that failed.

        Returns:
            Name → message of each that failed; empty where all is taken back.
        """
        failed: dict[str, str] = {}
        kept: list[tuple[str, Compensation]] = []
        for name, compensation in reversed(self._registered):
            try:
                await compensation()
            except (Exception, asyncio.CancelledError) as error:
                # A bug must leave the workflow task failing, so that a fixed worker goes on from here.
                if not workflow.is_failure_exception(error) or is_taken_over(error):
                    raise
                failed[name] = failure_message(error)
                kept.append((name, compensation))
        self._registered = kept[::-1]
        return failed


def is_taken_over(error: BaseException) -> bool:
    """Whether a step failed because somebody else acts for the update by now, or it has ended."""
    return any(isinstance(each, ApplicationError) and each.type == TakenOver.code for each in (error, error.__cause__))


def failure_message(error: BaseException) -> str:
    """The message of the failure at the root of a chain: an activity's own words instead of «activity task failed»."""
    root = error
    while root.__cause__ is not None:
        root = root.__cause__
    return getattr(root, "message", "") or str(root) or type(root).__name__
