"""What all activities have in common: heartbeats, log context, and errors turned into typed failures."""

import asyncio
import contextlib
import time
from collections.abc import AsyncGenerator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import structlog
from temporalio import activity
from temporalio.exceptions import ApplicationError

from taskroll.models.errors import TaskrollError
from taskroll.models.steps import UpdateRef

HEARTBEAT_INTERVAL = 1.0
"""Seconds between heartbeats; the workflow's heartbeat time-out is five times that."""

log = structlog.stdlib.get_logger("taskroll.activities")


@dataclass
class Progress:
    """How far a step is. Sent with each heartbeat, so that the web UI and ``taskroll watch`` can show it."""

    done: int = 0
    total: int = 0
    note: str = ""

    def report(self, done: int, total: int, note: str = "") -> None:
        self.done, self.total, self.note = done, total, note

    def count(self, total: int, note: str = "") -> None:
        """One more of so many."""
        self.report(self.done + 1, total, note)

    def details(self) -> dict[str, int | str]:
        return {"done": self.done, "total": self.total, "note": self.note}


@contextlib.asynccontextmanager
async def running(name: str, ref: UpdateRef) -> AsyncGenerator[Progress]:
    """Run the body of an activity: heartbeat beside it, log with the update's ids, map its errors.

    Raises:
        ApplicationError: for each `TaskrollError` of the body: its ``code`` as type, retried where it is retryable.
    """
    progress = Progress()
    with structlog.contextvars.bound_contextvars(update_id=ref.workflow_id, request_id=ref.request_id, step=name):
        started = time.monotonic()
        log.info("step started", attempt=activity.info().attempt)
        beat = asyncio.create_task(_heartbeat(progress))
        try:
            yield progress
        except TaskrollError as error:
            log.warning("step failed", code=error.code, error=error.message, findings=error.details[:10])
            wait = getattr(error, "retry_after", None)
            raise ApplicationError(
                _with_findings(error),
                error.details[:50],
                type=error.code,
                non_retryable=not error.retryable,
                next_retry_delay=timedelta(seconds=wait) if wait else None,
            ) from None
        except asyncio.CancelledError:
            log.warning("step cancelled", seconds=round(time.monotonic() - started, 3))
            raise
        finally:
            beat.cancel()
        log.info("step done", seconds=round(time.monotonic() - started, 3))


async def _heartbeat(progress: Progress) -> None:
    while True:
        activity.heartbeat(progress.details())
        await asyncio.sleep(HEARTBEAT_INTERVAL)


def seconds_left(budget: float) -> float:
    """Seconds until the step's budget is used up, counted from when it was first scheduled, whatever the attempt."""
    spent = (datetime.now(UTC) - activity.info().scheduled_time).total_seconds()
    return max(0.0, budget - spent)


def _with_findings(error: TaskrollError, limit: int = 5) -> str:
    if not error.details:
        return error.message
    shown = "; ".join(error.details[:limit])
    more = len(error.details) - limit
    return f"{error.message}: {shown}" + (f"; and {more} more" if more > 0 else "")
