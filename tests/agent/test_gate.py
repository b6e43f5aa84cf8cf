"""Calls at the gate: held while an update flips, waited for, named, cancelled, let go."""

import asyncio
import threading
import time
from collections.abc import Awaitable, Callable, Iterable
from typing import Any

import pytest

from taskroll_agent import Agent, AgentError, CallCancelled, Gate
from taskroll_agent import gate as gate_module
from taskroll_agent.contracts import AbortRequest, HoldRequest, ReleaseRequest
from taskroll_agent.gate import MOST_NAMED

Until = Callable[[Callable[[], Any]], Awaitable[Any]]


def request(
    *classes: str, request_id: str = "up", seconds: float = 5.0, expires: float = 30.0, cancel: bool = False
) -> HoldRequest:
    return HoldRequest(request_id=request_id, classes=list(classes), seconds=seconds, expires=expires, cancel=cancel)


class Running:
    """A call that is in the gate until it is told to end."""

    def __init__(self, gate: Gate, *classes: str) -> None:
        self.entered = asyncio.Event()
        self.may_end = asyncio.Event()
        self.task = asyncio.create_task(self._run(gate, classes))

    async def _run(self, gate: Gate, classes: Iterable[str]) -> None:
        async with gate.call(classes):
            self.entered.set()
            await self.may_end.wait()

    async def end(self) -> None:
        self.may_end.set()
        await self.task


async def running(gate: Gate, *classes: str) -> Running:
    call = Running(gate, *classes)
    await call.entered.wait()
    return call


async def settled() -> None:
    """Let every task that can go on do so."""
    for _ in range(10):
        await asyncio.sleep(0)


@pytest.fixture
def gate() -> Gate:
    return Gate()


async def test_a_process_without_calls_holds_at_once(gate: Gate) -> None:
    answer = await gate.hold(request("A", seconds=0))
    assert (answer.held, answer.in_flight) == (True, 0)
    assert gate.holding == ["up"]
    assert gate.release("up").waited_calls == 0
    assert gate.holding == []


@pytest.mark.parametrize(
    ("held", "of_call", "waits"),
    [
        (["A"], ["A"], True),
        (["A", "B"], ["C", "B"], True),
        (["A"], ["B"], False),
        (["A"], [], True),
        ([], ["A"], True),
    ],
    ids=["the same", "one in common", "another", "a call that may use any", "a hold of all"],
)
async def test_which_calls_wait(gate: Gate, held: list[str], of_call: list[str], waits: bool) -> None:
    await gate.hold(request(*held))
    call = Running(gate, *of_call)
    await settled()
    assert call.entered.is_set() is not waits
    answer = gate.release("up")
    assert answer.waited_calls == int(waits)
    assert (answer.longest_wait_ms > 0) is waits
    assert answer.longest_wait_ms <= answer.held_ms
    assert not answer.expired
    await call.end()


async def test_a_hold_waits_for_calls_in_flight(gate: Gate) -> None:
    first, other = await running(gate, "A"), await running(gate, "B")
    hold = asyncio.create_task(gate.hold(request("A")))
    await settled()
    assert not hold.done()
    late = Running(gate, "A")
    await first.end()
    assert (await hold).held
    assert not late.entered.is_set()
    gate.release("up")
    await late.end()
    await other.end()


async def test_calls_that_do_not_end_are_named_and_the_gate_opens(gate: Gate) -> None:
    calls = [await running(gate, "A", "B"), await running(gate)]
    answer = await gate.hold(request("A", seconds=0.01))
    assert (answer.held, answer.in_flight, answer.cancelled) == (False, 2, 0)
    assert [call.classes for call in answer.details] == [["A", "B"], []]
    assert answer.details[0].since <= answer.details[1].since
    assert gate.holding == []
    calls.append(await running(gate, "A"))
    for call in calls:
        await call.end()


async def test_an_answer_names_the_oldest_calls_only(gate: Gate) -> None:
    calls = [await running(gate, "A") for _ in range(MOST_NAMED + 5)]
    answer = await gate.hold(request("A", seconds=0))
    assert (answer.in_flight, len(answer.details)) == (MOST_NAMED + 5, MOST_NAMED)
    for call in calls:
        await call.end()


async def test_calls_that_do_not_end_are_cancelled_where_asked_for(gate: Gate) -> None:
    call, other = await running(gate, "A"), await running(gate, "B")
    answer = await gate.hold(request("A", seconds=0.01, cancel=True))
    assert (answer.held, answer.in_flight, answer.cancelled) == (True, 0, 1)
    with pytest.raises(CallCancelled):
        await call.task
    assert not other.task.done()
    gate.release("up")
    await other.end()


async def test_a_call_that_ignores_the_cancelling_is_named(gate: Gate, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gate_module, "CANCEL_GRACE", 0.01)
    entered, may_end = asyncio.Event(), asyncio.Event()

    async def stubborn() -> int:
        async with gate.call(["A"]):
            entered.set()
            try:
                await may_end.wait()
            except asyncio.CancelledError:
                await may_end.wait()
        await asyncio.sleep(0)  # would end the task, were the cancelling still on it
        return 1

    task = asyncio.create_task(stubborn())
    await entered.wait()
    answer = await gate.hold(request("A", seconds=0, cancel=True))
    assert (answer.held, answer.in_flight, answer.cancelled) == (False, 1, 1)
    may_end.set()
    assert await task == 1


async def test_a_cancelling_of_another_origin_stays_one(gate: Gate) -> None:
    call = await running(gate, "A")
    call.task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call.task
    assert (await gate.hold(request("A", seconds=0))).held


async def test_a_waiting_call_that_is_given_up(gate: Gate) -> None:
    await gate.hold(request("A"))
    call = Running(gate, "A")
    await settled()
    call.task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call.task
    gate.release("up")
    assert (await gate.hold(request("A", seconds=0))).held, "it is not counted as in flight"


async def test_time_lets_go_where_nobody_else_does(gate: Gate) -> None:
    started = time.monotonic()
    await gate.hold(request("A", expires=0.05))
    async with gate.call(["A"]):
        assert time.monotonic() - started >= 0.05
        assert gate.holding == []
    answer = gate.release("up")
    assert (answer.expired, answer.waited_calls) == (True, 1)
    assert 0 < answer.longest_wait_ms <= answer.held_ms <= 51
    assert not gate.release("up").expired, "asked again, there is nothing left"


async def test_the_same_request_again_renews_its_hold(gate: Gate) -> None:
    await gate.hold(request("A", expires=0.05))
    call = Running(gate, "A")
    await settled()
    assert (await gate.hold(request("A", expires=30))).held
    await asyncio.sleep(0.06)  # the time of the first request is over
    assert gate.holding == ["up"]
    assert not call.entered.is_set()
    assert gate.release("up").waited_calls == 1
    await call.end()


async def test_the_same_request_twice_at_a_time(gate: Gate) -> None:
    """As when the first answer is lost and the caller asks again: the first one's deadline does not open the gate."""
    call = await running(gate, "A")
    first = asyncio.create_task(gate.hold(request("A", seconds=0.01)))
    await settled()
    second = asyncio.create_task(gate.hold(request("A", seconds=30)))
    assert not (await first).held
    assert gate.holding == ["up"]
    await call.end()
    assert (await second).held


async def test_a_hold_of_other_classes_replaces_the_update_s_former_one(gate: Gate) -> None:
    await gate.hold(request("A"))
    await gate.hold(request("B"))
    await (await running(gate, "A")).end()
    waits = Running(gate, "B")
    await settled()
    assert not waits.entered.is_set()
    gate.release("up")
    await waits.end()


async def test_holds_of_two_updates_know_nothing_of_each_other(gate: Gate) -> None:
    await gate.hold(request("A", request_id="one"))
    await gate.hold(request("B", request_id="two"))
    both = Running(gate, "A", "B")
    await settled()
    gate.release("one")
    await settled()
    assert not both.entered.is_set()
    await (await running(gate, "A")).end()
    gate.release("two")
    await both.end()


async def test_a_call_within_a_call_is_let_in_with_it(gate: Gate) -> None:
    """Else the hold would wait for the outer call, and that one for the hold."""
    outer_in, go_on = asyncio.Event(), asyncio.Event()

    async def outer() -> None:
        async with gate.call(["A"]):
            outer_in.set()
            await go_on.wait()
            async with gate.call(["A", "B"]):
                pass

    task = asyncio.create_task(outer())
    await outer_in.wait()
    hold = asyncio.create_task(gate.hold(request("A")))
    await settled()
    go_on.set()
    await task
    assert (await hold).held


async def test_a_call_that_outlives_the_one_it_was_made_in_is_waited_for(gate: Gate) -> None:
    inner: list[Running] = []

    async def outer() -> None:
        async with gate.call(["A"]):
            inner.append(await running(gate, "A"))

    await asyncio.create_task(outer())
    hold = asyncio.create_task(gate.hold(request("A")))
    await settled()
    assert not hold.done()
    await inner[0].end()
    assert (await hold).held


async def test_a_call_from_a_task_whose_call_has_ended_waits(gate: Gate) -> None:
    later: list[asyncio.Task[Running]] = []
    may_start = asyncio.Event()

    async def start_late() -> Running:
        await may_start.wait()
        call = Running(gate, "A")
        await settled()
        return call

    async with gate.call(["A"]):
        later.append(asyncio.create_task(start_late()))
    await gate.hold(request("A"))
    may_start.set()
    call = await later[0]
    assert not call.entered.is_set()
    gate.release("up")
    await call.end()


async def test_threads_are_held_waited_for_and_let_go(gate: Gate, until: Until) -> None:
    entered, may_end = threading.Event(), threading.Event()

    def work() -> None:
        with gate.call(["A"]):
            entered.set()
            may_end.wait()

    first = threading.Thread(target=work)
    first.start()
    await until(entered.is_set)
    answer = await gate.hold(request("A", seconds=0.01, cancel=True))
    assert (answer.held, answer.in_flight, answer.cancelled) == (False, 1, 0), "a thread cannot be cancelled"
    may_end.set()
    first.join()

    assert (await gate.hold(request("A"))).held
    entered.clear()
    second = threading.Thread(target=work)
    second.start()
    await asyncio.sleep(0.05)
    assert not entered.is_set()
    assert gate.release("up").waited_calls == 1
    await until(entered.is_set)
    second.join()


async def test_a_thread_s_wait_ends_with_the_hold_s_time(gate: Gate) -> None:
    await gate.hold(request("A", expires=0.05))

    def work() -> str:
        with gate.call(["A"]):
            return "done"

    assert await asyncio.to_thread(work) == "done"


async def test_a_loop_is_not_stalled_by_a_plain_with(gate: Gate) -> None:
    with gate.call(["A"]):
        pass
    await gate.hold(request("A"))
    with pytest.raises(AgentError, match="async with"), gate.call(["A"]):
        pytest.fail("not reached")


def test_one_name_in_place_of_a_list_is_refused(gate: Gate) -> None:
    with pytest.raises(TypeError, match="'Encoder'"):
        gate.call("Encoder")


async def test_release_and_abort_of_an_agent_open_its_gate(
    start_agent: Callable[..., Awaitable[Agent]],
) -> None:
    agent = await start_agent()
    for let_go in (agent.release(ReleaseRequest(request_id="up")), agent.abort(AbortRequest(request_id="up"))):
        assert (await agent.hold(request("A"))).held
        assert agent.gate.holding == ["up"]
        await let_go
        assert agent.gate.holding == []
