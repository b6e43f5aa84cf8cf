"""A fan-out that is cancelled leaves no call running behind."""

import asyncio
from collections.abc import Awaitable, Callable

import pytest
from aiohttp import web
from pydantic import SecretStr

from taskroll.services.agent_calls import AgentCalls, CallLimits
from taskroll.services.answers import Answered, Unreachable
from taskroll.services.deadline import Deadline
from taskroll.services.replica import Replica
from taskroll.services.settle import for_each, settle_all
from taskroll_agent.contracts import AbortAnswer, AbortRequest

from .stand_in import TOKEN, StandIn, answered


async def test_results_come_in_the_order_of_the_items() -> None:
    gates = [asyncio.Event() for _ in range(3)]
    told: list[tuple[int, int]] = []

    async def call(item: int, _: Deadline) -> int:
        await gates[item].wait()
        if item > 0:
            gates[item - 1].set()
        return item * 10

    gates[2].set()
    results = await for_each([0, 1, 2], call, Deadline.after(10), lambda item, result: told.append((item, result)))
    assert results == [(0, 0), (1, 10), (2, 20)]
    assert told == [(2, 20), (1, 10), (0, 0)]


async def test_nothing_to_call() -> None:
    assert await settle_all([], Deadline.after(1)) == []


@pytest.mark.parametrize("cancels", [1, 3])
async def test_cancelled_it_waits_for_what_was_started(cancels: int) -> None:
    started, let_go = asyncio.Event(), asyncio.Event()
    finished: list[int] = []
    saw_the_end: list[bool] = []

    async def call(item: int, deadline: Deadline) -> None:
        started.set()
        await let_go.wait()
        saw_the_end.append(deadline.is_over)
        finished.append(item)

    fan_out = asyncio.create_task(for_each([1, 2], call, Deadline.after(60)))
    await started.wait()
    for _ in range(cancels):
        fan_out.cancel()
        done, _ = await asyncio.wait({fan_out}, timeout=0.01)
        assert not done
    let_go.set()
    with pytest.raises(asyncio.CancelledError):
        await fan_out
    assert sorted(finished) == [1, 2]
    assert saw_the_end == [True, True]


async def test_cancelled_it_starts_no_further_attempt_and_no_further_call() -> None:
    deadline = Deadline.after(60)
    attempts = 0
    in_pause = asyncio.Event()

    async def call(_: int, limits: Deadline) -> str:
        nonlocal attempts
        while True:
            attempts += 1
            in_pause.set()
            if not await limits.pause(3600):
                return "gave up"

    fan_out = asyncio.create_task(for_each([1], call, deadline))
    await in_pause.wait()
    fan_out.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asyncio.wait_for(fan_out, 60)
    assert attempts == 1


async def test_nested_fan_outs_settle_too() -> None:
    started, let_go = asyncio.Event(), asyncio.Event()
    finished: list[int] = []
    deadline = Deadline.after(60)

    async def call(item: int, _: Deadline) -> None:
        started.set()
        await let_go.wait()
        finished.append(item)

    outer = asyncio.create_task(settle_all([for_each([1, 2], call, deadline), for_each([3], call, deadline)], deadline))
    await started.wait()
    outer.cancel()
    done, _ = await asyncio.wait({outer}, timeout=0.01)
    assert not done
    let_go.set()
    with pytest.raises(asyncio.CancelledError):
        await outer
    assert sorted(finished) == [1, 2, 3]


async def test_a_bug_in_one_call_is_raised_after_the_others_have_ended() -> None:
    finished: list[int] = []
    let_go = asyncio.Event()

    async def call(item: int, _: Deadline) -> None:
        if item == 0:
            let_go.set()
            raise KeyError("a bug")
        await let_go.wait()
        await asyncio.sleep(0)
        finished.append(item)

    with pytest.raises(KeyError, match="a bug"):
        await for_each([0, 1, 2], call, Deadline.after(1))
    assert sorted(finished) == [1, 2]


async def test_a_cancelled_activation_reaches_its_replica_before_the_cancellation_is_raised(
    stand_in: Callable[..., Awaitable[StandIn]],
) -> None:
    """The replica is in the middle of an exchange when the fan-out is cancelled; another waits in line for a slot."""
    one = await stand_in()
    arrived, let_go = asyncio.Event(), asyncio.Event()
    carried_out: list[str] = []

    async def slow(request: web.Request) -> web.StreamResponse:
        arrived.set()
        await let_go.wait()
        carried_out.append("abort")
        return answered(AbortAnswer(dropped=True))

    one.handlers["/abort"] = slow
    results: list[object] = []
    replica = Replica(service="s", pod="p", pod_uid="u", address=one.host, port=one.port, ready=True)
    async with AgentCalls(CallLimits(concurrency=1)) as calls:
        fan_out = asyncio.create_task(
            for_each(
                [replica, replica],
                lambda r, d: calls.abort(r, SecretStr(TOKEN), AbortRequest(request_id="r1"), d),
                Deadline.after(60),
                lambda _, result: results.append(result),
            )
        )
        await arrived.wait()
        fan_out.cancel()
        done, _ = await asyncio.wait({fan_out}, timeout=0.01)
        assert not done
        let_go.set()
        with pytest.raises(asyncio.CancelledError):
            await fan_out
    assert carried_out == ["abort"]
    assert results == [Answered(AbortAnswer(dropped=True)), Unreachable("not called: no time was left")]


async def test_a_deadline() -> None:
    deadline = Deadline.after(60)
    assert deadline.capped(5) == 5
    assert 59 < deadline.capped(100) <= 60
    assert not deadline.is_over
    assert await deadline.pause(0.001)
    deadline.stop()
    assert deadline.is_over
    assert deadline.capped(5) == 0
    assert not await deadline.pause(60)
    assert Deadline.after(-1).is_over
