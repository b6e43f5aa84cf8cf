"""From the load's records to what the report says of it."""

from collections import Counter
from collections.abc import Iterable, Sequence
from datetime import datetime

from examples.load_record import LoadRecord

from .report import LoadReport, RequestsReport


def requests_between(records: Iterable[LoadRecord], start: datetime, end: datetime) -> RequestsReport:
    """Count the requests that were sent from `start` to `end`."""
    sent = [record for record in records if start.timestamp() <= record.at <= end.timestamp()]
    versions = Counter(str(record.version) for record in sent if record.version is not None)
    return RequestsReport(
        by_version=dict(sorted(versions.items())),
        mixed=sum(record.is_mixed for record in sent),
        retried=sum(record.retried is not None and record.failed is None for record in sent),
        failed=sum(record.failed is not None for record in sent),
    )


def mixed_answers_window(
    records: Iterable[LoadRecord], old: int, new: int, start: datetime, end: datetime
) -> float | None:
    """Milliseconds from the first answer of version `new` to the last one of version `old`, as callers saw them.

    An answer counts at the time when it came. None where one of the two versions did not answer between `start` and
    `end`.
    """
    came = [record for record in records if start.timestamp() <= record.at <= end.timestamp()]
    first_new = min((record.ended_at for record in came if record.version == new), default=None)
    last_old = max((record.ended_at for record in came if record.version == old), default=None)
    return None if first_new is None or last_old is None else (last_old - first_new) * 1000


def whole_load(records: Sequence[LoadRecord]) -> LoadReport:
    """Count all of it."""
    seconds = records[-1].ended_at - records[0].at if records else 0.0
    return LoadReport(
        requests_per_second=round(len(records) / seconds, 1) if seconds else 0.0,
        answers=sum(record.failed is None for record in records),
        mixed=sum(record.is_mixed for record in records),
        retried=sum(record.retried is not None and record.failed is None for record in records),
        failed=sum(record.failed is not None for record in records),
        failures=dict(Counter(record.failed for record in records if record.failed is not None)),
    )
