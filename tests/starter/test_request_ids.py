"""Request ids that are made up."""

import re
from datetime import UTC, datetime

import pytest

from starter.request_ids import new_request_id
from taskroll.models.names import REQUEST_ID_PATTERN

NOW = datetime(2026, 4, 1, 10, 0, 3, tzinfo=UTC)


@pytest.mark.parametrize(
    ("stem", "begins"),
    [
        ("echo_tasks", "echo-tasks-20260401-100003-"),
        ("Echo Tasks!", "echo-tasks-20260401-100003-"),
        ("", "update-20260401-100003-"),
        ("---", "update-20260401-100003-"),
        ("ä/../b", "b-20260401-100003-"),
        ("x" * 200, "x" * 36 + "-20260401-100003-"),
        ("x" * 35 + "-y", "x" * 35 + "-20260401-100003-"),
    ],
)
def test_is_readable_and_fits_the_form(stem: str, begins: str) -> None:
    made = new_request_id(stem, NOW)
    assert made.startswith(begins)
    assert re.fullmatch(REQUEST_ID_PATTERN, made)


def test_two_of_one_second_differ() -> None:
    assert len({new_request_id("a", NOW) for _ in range(100)}) == 100
