"""The workers: which poll the task queue, whether one answers, and whether it has the rights that it needs."""

from datetime import UTC, datetime
from importlib.metadata import version

from starter.temporal_connection import NoWorker
from starter.worker_questions import ask_rights
from taskroll.models.errors import TaskrollError

from .findings import Finding, Remedy, ok
from .place import Place

LATEST_POLL = 75.0
"""Seconds: a worker that waits for work asks again after about a minute."""


async def check_workers(place: Place) -> list[Finding]:
    """Look who polls, and ask for an answer: Temporal goes on for minutes to name a worker that has ended."""
    pollers = await place.temporal.pollers()
    ages = {identity: (datetime.now(UTC) - seen).total_seconds() for identity, seen in pollers.items()}
    queue = place.settings.task_queue
    if not ages:
        return _nobody(place, f"no worker polls task queue {queue!r}: no update goes on", [])
    try:
        rights = _rights(place, await ask_rights(place.settings, place.temporal))
    except NoWorker:
        message = (
            f"no worker of task queue {queue!r} answers: no update goes on. Temporal names one for five minutes after "
            "it has ended"
        )
        return _nobody(place, message, _in_words(ages))
    except TaskrollError as error:
        rights = Finding(check="worker-rights", state="skipped", message=error.message)
    return [_workers(place, ages), rights]


def _nobody(place: Place, message: str, details: list[str]) -> list[Finding]:
    start = Remedy(purpose="start one", command=f"taskroll-worker --task-queue {place.settings.task_queue}")
    return [
        Finding(check="workers", state="problem", message=message, details=details, remedies=[start]),
        Finding(check="worker-rights", state="skipped", message="no worker answers that could be asked"),
    ]


def _workers(place: Place, ages: dict[str, float]) -> Finding:
    """Of workers of which one has answered."""
    queue = place.settings.task_queue
    own = version("taskroll")
    others = sorted({name.split()[1] for name in ages if name.startswith("taskroll-worker ")} - {own})
    if others:
        message = f"workers of version {', '.join(others)} poll task queue {queue!r}, and this tool is {own}"
        return Finding(check="workers", state="warning", message=message, details=_in_words(ages))
    lately = sum(age <= LATEST_POLL for age in ages.values())
    return ok("workers", f"one answers; {lately} asked task queue {queue!r} for work lately", _in_words(ages))


def _in_words(ages: dict[str, float]) -> list[str]:
    return [
        f"{identity}, last asked for work {age:.0f} s ago" + (": it has probably ended" if age > LATEST_POLL else "")
        for identity, age in sorted(ages.items())
    ]


def _rights(place: Place, lacking: list[str]) -> Finding:
    if not lacking:
        return ok("worker-rights", "the worker has all of the role taskroll-worker")
    return Finding(
        check="worker-rights",
        state="problem",
        message="the worker that was asked lacks rights of the role taskroll-worker: its steps will be refused",
        details=lacking,
        remedies=[
            Remedy(
                purpose="in a checkout of taskroll, install roles and bindings, by an overlay that sets the namespace",
                command=place.commands.cluster_wide("apply -k deploy"),
            )
        ],
    )
