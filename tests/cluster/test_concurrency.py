"""Many calls at a time, and calls that are tried again because others wrote. No cluster needed."""

from __future__ import annotations

import asyncio

import pytest

from taskroll.cluster import rereading as module
from taskroll.cluster.bounded import run_bounded, settle_bounded
from taskroll.cluster.errors import AlreadyExists, Conflict, Invalid, NotFound
from taskroll.cluster.rereading import rereading
from taskroll.cluster.transport import Call


class Work:
    """Notes what is started and finished; fails for some numbers; waits where told to."""

    def __init__(self, failing: tuple[int, ...] = (), slow: tuple[int, ...] = ()) -> None:
        self.failing, self.slow = failing, slow
        self.started: list[int] = []
        self.finished: list[int] = []
        self.running = self.most = 0

    async def __call__(self, number: int) -> int:
        self.started.append(number)
        self.running += 1
        self.most = max(self.most, self.running)
        try:
            for _ in range(50 if number in self.slow else 1):
                await asyncio.sleep(0)
            if number in self.failing:
                raise ValueError(f"no {number}")
            return number * 10
        finally:
            self.running -= 1
            self.finished.append(number)


async def test_results_come_in_order_and_no_more_than_the_limit_run_at_once():
    work = Work(slow=(0, 3))
    assert await run_bounded(list(range(10)), work, limit=3) == [number * 10 for number in range(10)]
    assert work.started == list(range(10))
    assert work.most == 3
    assert await run_bounded([], work) == []


async def test_after_a_failure_nothing_is_started_and_what_runs_is_finished():
    work = Work(failing=(1,), slow=(0, 2))
    with pytest.raises(ValueError, match="no 1"):
        await run_bounded(list(range(20)), work, limit=3)
    assert sorted(work.finished) == work.started == [0, 1, 2]


async def test_of_several_failures_the_first_in_order_is_raised():
    with pytest.raises(ValueError, match="no 0"):
        await run_bounded([0, 1, 2], Work(failing=(0, 1, 2), slow=(0,)), limit=3)


async def test_all_are_settled_whatever_fails():
    work = Work(failing=(1, 4))
    results, failures = await settle_bounded(list(range(6)), work, limit=2)
    assert results == [0, 20, 30, 50]
    assert [str(error) for error in failures] == ["no 1", "no 4"]


async def test_a_cancel_is_passed_on_and_waited_for():
    work = Work(slow=tuple(range(20)))
    running = asyncio.create_task(run_bounded(list(range(20)), work, limit=4))
    while len(work.started) < 4:
        await asyncio.sleep(0)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert work.started == sorted(work.finished) == [0, 1, 2, 3]


def _error(kind: type, verb: str = "replace"):
    return kind(Call(verb, "/x", "Thing", "a"), "said")


@pytest.fixture
def no_pauses(monkeypatch):
    monkeypatch.setattr(module, "_LONGEST_PAUSE", 0.0)
    monkeypatch.setattr(module, "_FIRST_PAUSE", 0.0)


@pytest.mark.parametrize("error", [_error(Conflict), _error(AlreadyExists, "create"), _error(NotFound, "delete")])
async def test_a_write_that_others_overtook_is_decided_anew(no_pauses, error):
    outcomes = [error, error, "done"]

    async def attempt() -> str:
        outcome = outcomes.pop(0)
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    assert await rereading(attempt) == "done"
    assert outcomes == []


@pytest.mark.parametrize("error", [_error(Invalid), _error(NotFound, "create"), ValueError("x")])
async def test_any_other_error_is_raised_at_once(no_pauses, error):
    calls = []

    async def attempt() -> None:
        calls.append(1)
        raise error

    with pytest.raises(type(error)):
        await rereading(attempt)
    assert len(calls) == 1


async def test_it_gives_up_in_the_end_with_an_error_that_may_be_retried(no_pauses):
    calls = []

    async def attempt() -> None:
        calls.append(1)
        raise _error(Conflict)

    with pytest.raises(Conflict) as caught:
        await rereading(attempt, attempts=7)
    assert len(calls) == 7
    assert caught.value.retryable
