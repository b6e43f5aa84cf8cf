"""What the report says of the load, from records made by hand."""

from datetime import UTC, datetime

import pytest

from examples.demo.accounting import mixed_answers_window, requests_between, whole_load
from examples.load_record import LoadRecord


def at(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)


def answer(sent: float, version: int, *, composite: int | None = None, **more: object) -> LoadRecord:
    versions = {"encoder": version, "writer": 1}
    if composite is not None:
        versions["composite"] = composite
    return LoadRecord(sent, 0.01, "gateway", "gateway-0", versions, **more)  # type: ignore[arg-type]


def failure(sent: float, why: str = "TimeoutError") -> LoadRecord:
    return LoadRecord(sent, 5.0, "gateway", failed=why)


def test_requests_are_counted_by_version_between_start_and_end() -> None:
    records = [answer(1, 1), answer(2, 1), answer(3, 2), answer(4, 2), answer(5, 2)]
    assert requests_between(records, at(2), at(4)).by_version == {"1": 1, "2": 2}


def test_failed_and_retried_requests_are_counted() -> None:
    records = [answer(1, 1), answer(1, 1, retried="broken pipe"), failure(1)]
    found = requests_between(records, at(0), at(2))
    assert (found.by_version, found.retried, found.failed) == ({"1": 2}, 1, 1)


def test_a_retry_that_failed_as_well_counts_as_failed_only() -> None:
    record = LoadRecord(1, 0.1, "gateway", retried="refused", failed="refused")
    found = requests_between([record], at(0), at(2))
    assert (found.retried, found.failed) == (0, 1)


def test_an_answer_of_two_versions_is_mixed() -> None:
    records = [answer(1, 1, composite=1), answer(1, 1, composite=2), answer(1, 2)]
    assert requests_between(records, at(0), at(2)).mixed == 1


def test_a_request_before_the_start_or_after_the_end_does_not_count() -> None:
    assert requests_between([failure(1), failure(5)], at(2), at(4)).failed == 0


def test_mixed_answers_window_is_from_the_first_new_to_the_last_old_answer() -> None:
    records = [answer(1.0, 1), answer(1.1, 2), answer(1.4, 1), answer(1.5, 2)]
    assert mixed_answers_window(records, 1, 2, at(0), at(2)) == pytest.approx(300)


def test_mixed_answers_window_is_negative_where_all_old_answers_came_first() -> None:
    window = mixed_answers_window([answer(1.0, 1), answer(1.2, 2)], 1, 2, at(0), at(2))
    assert window == pytest.approx(-200)


def test_no_mixed_answers_window_where_only_one_version_answered() -> None:
    assert mixed_answers_window([answer(1, 1)], 1, 2, at(0), at(2)) is None


def test_whole_load_names_why_requests_failed() -> None:
    found = whole_load([answer(0, 1), failure(1, "refused"), failure(2, "refused"), answer(9.99, 2)])
    assert (found.answers, found.failed, found.failures) == (2, 2, {"refused": 2})
    assert found.requests_per_second == pytest.approx(0.4)


def test_a_record_survives_its_line() -> None:
    record = answer(1.25, 2, composite=2, retried="reset")
    assert LoadRecord.parse(record.line()) == record


def test_a_line_of_another_form_is_no_record() -> None:
    with pytest.raises((TypeError, ValueError)):
        LoadRecord.parse('{"at": 1}')
