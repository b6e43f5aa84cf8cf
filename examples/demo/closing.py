"""The end of the demo: the report, and a short summary of it."""

import platform
import time
from datetime import UTC, datetime
from typing import cast

from .accounting import mixed_answers_window, requests_between, whole_load
from .course import Course, EndedUpdate
from .expectation import expect
from .report import DemoReport, PhaseReport, ServiceReport, UpdateReport
from .running_platform import SERVICES
from .telling import Telling

MAX_HISTORY_EVENTS = 80
"""Of an update that goes through. One that is taken back has twice the steps."""


def make_report(course: Course, started: float) -> DemoReport:
    """From what was seen of each update, and the records of the load, which has ended."""
    return DemoReport(
        started_at=datetime.fromtimestamp(started, UTC),
        seconds=round(time.time() - started, 1),
        python=platform.python_version(),
        services=[ServiceReport(name=name, replicas=count) for name, count in SERVICES.items()],
        updates=[_update(course, ended) for ended in course.ended],
        load=whole_load(course.load.records),
    )


def _update(course: Course, ended: EndedUpdate) -> UpdateReport:
    status, records = ended.view.status, course.load.records
    assert status.outcome is not None
    end = status.ended_at or datetime.now(UTC)
    completed = status.outcome == "completed" and ended.old is not None and ended.new is not None
    return UpdateReport(
        request_id=status.request_id,
        outcome=status.outcome,
        message=status.message,
        epoch=ended.epoch,
        replicas=ended.replicas,
        phases=[
            PhaseReport(name=step.name, started=step.started_at, seconds=step.seconds or 0.0) for step in status.steps
        ],
        mixed_version_window_ms=status.mixed_version_window_ms,
        mixed_answers_window_ms=(
            mixed_answers_window(records, cast(int, ended.old), cast(int, ended.new), status.started_at, end)
            if completed
            else None
        ),
        requests=requests_between(records, status.started_at, end),
        restored_byte_for_byte=ended.restored_byte_for_byte,
        history_events=ended.history_events,
    )


def check_report(report: DemoReport) -> None:
    """What has to hold of the whole demo."""
    expect(report.load.failed == 0, "no request fails in the whole demo", report.load.failures)
    expect(report.load.mixed == 0, "no answer is computed by two versions", report.load.mixed)
    for update in report.updates:
        if update.outcome == "completed":
            promise = f"at most {MAX_HISTORY_EVENTS} events in the history of {update.request_id}"
            expect(update.history_events <= MAX_HISTORY_EVENTS, promise, update.history_events)


def summarise(telling: Telling, report: DemoReport) -> None:
    """A line per update."""
    telling.chapter("What was shown")
    for update in report.updates:
        requests = update.requests
        versions = ", ".join(f"{count} by version {version}" for version, count in requests.by_version.items())
        window = update.mixed_version_window_ms
        facts = [
            f"release {update.epoch} attested by {update.replicas} replicas",
            "" if window is None else f"flipped within {window:.0f} ms",
            "custom resources restored byte for byte" * bool(update.restored_byte_for_byte),
            f"answers meanwhile: {versions}" * bool(versions),
        ]
        telling.say(f"  {update.request_id}: {update.outcome}", style="bold")
        telling.say(f"    {'; '.join(filter(None, facts))}")
    load = report.load
    telling.say(
        f"\n{load.answers:,} answers at {load.requests_per_second:.0f} per second: {load.failed} failed, {load.mixed} "
        f"by two versions, {load.retried} retried on another replica when one died."
    )
