"""How the demo compares custom resources, and what it makes of a promise that is not kept."""

import pytest

from examples.demo.custom_resources import differences
from examples.demo.expectation import ExpectationNotMet, expect


@pytest.mark.parametrize(
    ("after", "found"),
    [
        ({"a": b"1", "b": b"2"}, []),
        ({"a": b"1", "b": b"3"}, ["b"]),
        ({"a": b"1"}, ["b"]),
        ({"a": b"1", "b": b"2", "c": b"3"}, ["c"]),
    ],
    ids=["same", "changed", "gone", "new"],
)
def test_differences_names_what_is_not_the_same(after: dict[str, bytes], found: list[str]) -> None:
    assert differences({"a": b"1", "b": b"2"}, after) == found


def test_a_promise_that_is_not_kept_says_what_was_seen_instead() -> None:
    with pytest.raises(ExpectationNotMet, match="expected: none fails; seen: 3"):
        expect(False, "none fails", 3)


def test_a_promise_that_is_kept_says_nothing() -> None:
    expect(True, "none fails", 3)
