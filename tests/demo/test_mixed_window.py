"""How the benchmark's prober finds how long two versions were served at once."""

import pytest

from benchmarks.seen_versions import mixed_window
from benchmarks.spread import Spread


def test_window_is_from_the_first_new_answer_to_the_last_old_one() -> None:
    rows = {"a": [[0.0, 1.0, 1], [1.1, 3.0, 2]], "b": [[0.0, 2.1, 1], [2.2, 3.0, 2]]}
    assert mixed_window(rows, 1, 2) == pytest.approx(1000)


def test_no_window_where_every_old_answer_came_first() -> None:
    rows = {"a": [[0.0, 1.0, 1], [1.2, 3.0, 2]], "b": [[0.0, 1.1, 1], [1.3, 3.0, 2]]}
    assert mixed_window(rows, 1, 2) == 0


def test_a_replica_that_goes_back_counts_as_well() -> None:
    rows = {"a": [[0.0, 1.0, 1], [1.1, 1.5, 2], [1.6, 1.9, 1], [2.0, 3.0, 2]]}
    assert mixed_window(rows, 1, 2) == pytest.approx(800)


def test_spread_has_median_range_and_quartiles() -> None:
    spread = Spread.of([1.0, 2.0, 3.0, 4.0, 100.0])
    assert (spread.runs, spread.median, spread.low, spread.high, spread.quartiles) == (5, 3, 1, 100, (2, 4))
    assert spread.text(" ms") == "3 ms (1–100)"


def test_spread_of_one_run_is_that_run() -> None:
    assert Spread.of([7.0]).quartiles == (7, 7)


def test_spread_of_no_run_is_an_error() -> None:
    with pytest.raises(ValueError, match="no runs"):
        Spread.of([])
