"""The fence: who holds it, who waits, and that every waiter has its turn."""

from __future__ import annotations

import asyncio
import random
from datetime import UTC, datetime, timedelta

import pytest

from taskroll.cluster.fence import lower_fence, raise_fence, read_fence
from taskroll.cluster.fence_state import FENCE_NAME, STALE_AFTER, FenceEntry, FenceState
from taskroll.cluster.resources import CONFIG_MAP
from taskroll.models.errors import TamperedState
from taskroll_agent.contracts import sha256_digest

NOW = datetime(2026, 5, 4, 12, 0, 0, 123456, tzinfo=UTC)


def _keys(names: str) -> list[str]:
    return [f"TaskDefinition/{name}" for name in names.split()]


def _entry(request_id: str, exclusive: str = "a", shared: str = "", classes: str = "") -> FenceEntry:
    return FenceEntry(
        request_id=request_id, exclusive=_keys(exclusive), shared=_keys(shared), task_classes=classes.split()
    )


# which updates exclude each other

OVERLAPS = {
    "same definition": (("a", "", ""), ("a", "", ""), True),
    "one of many": (("a b", "", ""), ("b c", "", ""), True),
    "different definitions": (("a", "", ""), ("b", "", ""), False),
    "changes what the other builds on": (("a", "", ""), ("b", "a", ""), True),
    "both build on the same": (("a", "c", ""), ("b", "c", ""), False),
    "same task class": (("a", "", "Encoder"), ("b", "", "Encoder"), True),
    "different task classes": (("a", "", "Encoder"), ("b", "", "Decoder"), False),
    "nothing": (("", "", ""), ("a", "a", "A"), False),
}


@pytest.mark.parametrize("case", OVERLAPS)
def test_overlap(case):
    one, other, expected = OVERLAPS[case]
    first, second = _entry("u-1", *one), _entry("u-2", *other)
    assert first.overlaps(second) is expected
    assert second.overlaps(first) is expected


def test_the_state_is_readable_for_an_admission_policy_and_comes_back():
    entry = FenceEntry(
        request_id="u-1",
        exclusive=["TaskDefinition/encoder-task", "ExecutionDescriptor/encoder-task"],
        shared=["TaskDefinition/base"],
        task_classes=["EncoderTask"],
    )
    state = FenceState().raised(entry, NOW).queued(_entry("u-2"), NOW)
    data = state.data()
    assert {key: value for key, value in data.items() if key not in ("state.json", "digest")} == {
        "class.EncoderTask": "u-1",
        "definition.TaskDefinition.encoder-task": "u-1",
        "definition.ExecutionDescriptor.encoder-task": "u-1",
        "definition.TaskDefinition.base": "u-1",
        "class.taskroll-probe.u-1.20260504T120000123456": "u-1",
        "writer.taskroll-u-1": "u-1",
    }
    assert FenceState.from_data(data) == state


# on the API server


async def test_an_update_takes_the_fence_and_lowers_it(lab):
    assert await read_fence(lab.taskroll, lab.namespace) == FenceState()
    assert not await lower_fence(lab.taskroll, lab.namespace, "u-1")
    attempt = await raise_fence(lab.taskroll, lab.namespace, _entry("u-1", classes="A"), NOW)
    assert (attempt.held, attempt.ahead) == (True, [])
    state = await read_fence(lab.taskroll, lab.namespace)
    assert state.holder("u-1").since == NOW
    assert (await lab.object(CONFIG_MAP, FENCE_NAME)).data["class.A"] == "u-1"
    assert await lower_fence(lab.taskroll, lab.namespace, "u-1")
    assert not await lower_fence(lab.taskroll, lab.namespace, "u-1")
    assert await read_fence(lab.taskroll, lab.namespace) == FenceState()


async def test_updates_that_do_not_overlap_hold_it_side_by_side(lab):
    for number, name in enumerate("abc"):
        attempt = await raise_fence(lab.taskroll, lab.namespace, _entry(f"u-{number}", name), NOW)
        assert attempt.held
    assert len((await read_fence(lab.taskroll, lab.namespace)).holders) == 3


async def test_an_overlapping_update_waits_in_line_and_sees_who_is_ahead(lab):
    async def ask(entry):
        attempt = await raise_fence(lab.taskroll, lab.namespace, entry, NOW)
        return attempt.held, attempt.ahead

    first, second, third, apart = _entry("u-1", "a"), _entry("u-2", "a b"), _entry("u-3", "b"), _entry("u-4", "c")
    assert await ask(first) == (True, [])
    assert await ask(second) == (False, ["u-1"])
    assert await ask(third) == (False, ["u-2"]), "b is free, but u-2 wants it and came first"
    assert await ask(apart) == (True, [])
    assert await ask(second) == (False, ["u-1"])
    await lower_fence(lab.taskroll, lab.namespace, "u-1")
    assert await ask(third) == (False, ["u-2"])
    assert await ask(second) == (True, [])
    assert await ask(third) == (False, ["u-2"])
    await lower_fence(lab.taskroll, lab.namespace, "u-2")
    assert await ask(third) == (True, [])
    assert (await read_fence(lab.taskroll, lab.namespace)).line == []


async def test_a_holder_that_asks_again_holds_and_writes_nothing(lab):
    await raise_fence(lab.taskroll, lab.namespace, _entry("u-1"), NOW)
    cluster = lab.interposed()
    assert (await raise_fence(cluster, lab.namespace, _entry("u-1"), NOW + timedelta(hours=1))).held
    assert [call.verb for call in cluster.transport.calls] == ["read"]


async def test_a_holder_that_needs_another_closure_goes_before_those_that_wait(lab):
    async def ask(entry):
        attempt = await raise_fence(lab.taskroll, lab.namespace, entry, NOW)
        return attempt.held, attempt.ahead

    await ask(_entry("u-1", "a"))
    await ask(_entry("u-2", "b"))
    assert await ask(_entry("u-3", "a b c")) == (False, ["u-1", "u-2"])
    assert await ask(_entry("u-1", "a c")) == (True, []), "u-3 waits for c, too, and came later than u-1"
    assert (await read_fence(lab.taskroll, lab.namespace)).holder("u-1").entry.exclusive == _keys("a c")

    assert await ask(_entry("u-1", "a b")) == (False, ["u-2"]), "now u-1 holds nothing, and u-2 may finish"
    state = await read_fence(lab.taskroll, lab.namespace)
    assert state.holder("u-1") is None
    assert [ticket.entry.request_id for ticket in state.line] == ["u-1", "u-3"]
    await lower_fence(lab.taskroll, lab.namespace, "u-2")
    assert await ask(_entry("u-3", "a b c")) == (False, ["u-1"])
    assert await ask(_entry("u-1", "a b")) == (True, [])


async def test_a_waiter_renews_its_place_now_and_then_and_keeps_it(lab):
    await raise_fence(lab.taskroll, lab.namespace, _entry("u-1"), NOW)
    writes = 0
    for seconds in range(120):
        cluster = lab.interposed()
        await raise_fence(cluster, lab.namespace, _entry("u-2"), NOW + timedelta(seconds=seconds))
        writes += sum(call.is_write for call in cluster.transport.calls)
    ticket = (await read_fence(lab.taskroll, lab.namespace)).ticket("u-2")
    assert ticket.since == NOW
    assert ticket.renewed_at >= NOW + timedelta(seconds=105)
    assert writes == 8


async def test_a_waiter_that_was_terminated_does_not_block_the_line(lab):
    await raise_fence(lab.taskroll, lab.namespace, _entry("u-1", "a"), NOW)
    await raise_fence(lab.taskroll, lab.namespace, _entry("dead", "a b"), NOW)
    live = _entry("u-3", "b")
    assert (await raise_fence(lab.taskroll, lab.namespace, live, NOW)).ahead == ["dead"]
    assert (await raise_fence(lab.taskroll, lab.namespace, live, NOW + STALE_AFTER)).ahead == ["dead"]
    just_after = NOW + STALE_AFTER + timedelta(microseconds=1)
    assert (await raise_fence(lab.taskroll, lab.namespace, live, just_after)).held
    assert (await read_fence(lab.taskroll, lab.namespace)).ticket("dead") is None


async def test_a_late_waiter_whose_place_nobody_took_keeps_it_and_else_stands_at_the_end(lab):
    late = NOW + timedelta(hours=1)
    await raise_fence(lab.taskroll, lab.namespace, _entry("u-1"), NOW)
    await raise_fence(lab.taskroll, lab.namespace, _entry("u-2"), NOW)
    await raise_fence(lab.taskroll, lab.namespace, _entry("u-2"), late)
    assert (await read_fence(lab.taskroll, lab.namespace)).ticket("u-2").since == NOW
    later = late + timedelta(hours=1)
    await raise_fence(lab.taskroll, lab.namespace, _entry("u-3"), later)
    await raise_fence(lab.taskroll, lab.namespace, _entry("u-2"), later)
    assert [t.entry.request_id for t in (await read_fence(lab.taskroll, lab.namespace)).line] == ["u-3", "u-2"]


async def test_a_holder_never_lapses(lab):
    await raise_fence(lab.taskroll, lab.namespace, _entry("u-1"), NOW)
    attempt = await raise_fence(lab.taskroll, lab.namespace, _entry("u-2"), NOW + timedelta(days=365))
    assert attempt.ahead == ["u-1"]


async def test_a_waiter_that_gives_up_leaves_the_line(lab):
    await raise_fence(lab.taskroll, lab.namespace, _entry("u-1", "a"), NOW)
    await raise_fence(lab.taskroll, lab.namespace, _entry("u-2", "a b"), NOW)
    assert await lower_fence(lab.taskroll, lab.namespace, "u-2")
    assert (await raise_fence(lab.taskroll, lab.namespace, _entry("u-3", "b"), NOW)).held


@pytest.mark.parametrize("action", ["raise", "join", "lower"])
async def test_any_lost_request_or_answer_is_made_good_by_a_retry(lab, action):
    async def prepare():
        for holder in ("u-1", "u-2"):
            await lower_fence(lab.taskroll, lab.namespace, holder)
        if action != "raise":
            await raise_fence(lab.taskroll, lab.namespace, _entry("u-1" if action == "join" else "u-2"), NOW)

    async def act(cluster):
        if action == "lower":
            return await lower_fence(cluster, lab.namespace, "u-2")
        return (await raise_fence(cluster, lab.namespace, _entry("u-2"), NOW)).held

    async for fault, _ in lab.with_each_fault(prepare, act):
        state = await read_fence(lab.taskroll, lab.namespace)
        assert len(state.holders) + len(state.line) == {"raise": 1, "join": 2, "lower": 0}[action], fault
        assert bool(state.holder("u-2")) is (action == "raise"), fault


async def test_of_two_at_once_one_holds_and_the_other_waits(lab):
    for number in range(10):
        entries = [_entry(f"u-{number}-{side}", "a b") for side in "xy"]
        attempts = await asyncio.gather(*(raise_fence(lab.taskroll, lab.namespace, e, NOW) for e in entries))
        assert sorted(attempt.held for attempt in attempts) == [False, True]
        for entry in entries:
            await lower_fence(lab.taskroll, lab.namespace, entry.request_id)


async def test_many_contenders_all_have_their_turn_in_order_and_never_two_that_overlap(lab):
    """25 updates of random closures; each asks until it holds, works for a moment, and lowers."""
    chance = random.Random(20260504)
    names = ["a", "b", "c", "d", "e", "f"]
    entries = [
        _entry(f"u-{n:02}", " ".join(chance.sample(names, chance.randint(1, 3))), chance.choice(["", "a", "f"]))
        for n in range(25)
    ]
    holding: dict[str, FenceEntry] = {}
    served: list[str] = []
    lowered = asyncio.Condition()

    async def update(entry: FenceEntry) -> None:
        while not (await raise_fence(lab.taskroll, lab.namespace, entry, NOW)).held:
            async with lowered:
                await lowered.wait()
        assert not [other for other in holding.values() if other.overlaps(entry)]
        holding[entry.request_id] = entry
        await raise_fence(lab.taskroll, lab.namespace, entry, NOW)
        del holding[entry.request_id]
        await lower_fence(lab.taskroll, lab.namespace, entry.request_id)
        served.append(entry.request_id)
        async with lowered:
            lowered.notify_all()

    async with asyncio.timeout(60):
        await asyncio.gather(*(update(entry) for entry in entries))
    assert sorted(served) == [entry.request_id for entry in entries]
    assert await read_fence(lab.taskroll, lab.namespace) == FenceState()


async def test_overlapping_updates_are_served_in_the_order_of_their_arrival(lab):
    entries = [_entry(f"u-{n}", "a") for n in range(8)]
    for entry in entries:
        await raise_fence(lab.taskroll, lab.namespace, entry, NOW)
    order = list(entries)
    for turn in range(8):
        random.Random(turn).shuffle(order)
        held = [e.request_id for e in order if (await raise_fence(lab.taskroll, lab.namespace, e, NOW)).held]
        assert held == [f"u-{turn}"]
        await lower_fence(lab.taskroll, lab.namespace, f"u-{turn}")
        order = [entry for entry in order if entry.request_id != f"u-{turn}"]


TAMPERING = {
    "a key for the admission policy is gone": lambda data: data.pop("class.A"),
    "a key for the admission policy is another's": lambda data: data.update({"class.A": "u-9"}),
    "a key was added": lambda data: data.update({"class.B": "u-1"}),
    "the digest": lambda data: data.update(digest="sha256:" + "0" * 64),
    "the state": lambda data: data.update({"state.json": '{"holders":[],"line":[]}'}),
    "the state and its digest": lambda data: data.update(
        {"state.json": '{"holders":[],"line":[]}', "digest": sha256_digest({"holders": [], "line": []})}
    ),
    "no state": lambda data: data.pop("state.json"),
    "no JSON": lambda data: data.update({"state.json": "{"}),
    "another JSON": lambda data: data.update({"state.json": "[]"}),
}


@pytest.mark.parametrize("edit", TAMPERING)
async def test_a_fence_that_was_edited_by_hand_stops_everything(lab, edit):
    await raise_fence(lab.taskroll, lab.namespace, _entry("u-1", classes="A"), NOW)
    await lab.edit_object(CONFIG_MAP, FENCE_NAME, lambda raw: TAMPERING[edit](raw["data"]))
    for act in (
        lambda: read_fence(lab.taskroll, lab.namespace),
        lambda: raise_fence(lab.taskroll, lab.namespace, _entry("u-2", "z"), NOW),
        lambda: lower_fence(lab.taskroll, lab.namespace, "u-1"),
    ):
        with pytest.raises(TamperedState, match="taskroll-fence"):
            await act()
