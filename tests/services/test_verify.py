"""Verify: what counts as running the release, and what does not."""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Any

import pytest
from aiohttp import web

from taskroll.services.deadline import Deadline
from taskroll.services.expectation import Expectation
from taskroll.services.fleet import Fleet
from taskroll.services.verify import VerifyOutcome, verify
from taskroll_agent.contracts import content_digest

from .changing_fleet import as_pod, list_as
from .rounds import Rounds
from .stand_in import NEW, OLD, STARTED_AT, Handler, StandIn, always, answered

Start = Callable[..., Awaitable[StandIn]]
Make = Callable[..., Fleet]

EXPECTED = Expectation(epoch=2, content_digest=content_digest(NEW), definitions=dict(NEW))
OTHER = {"TaskDefinition/llm": "sha256:" + "7" * 64}
LATER = {**NEW, **OTHER}


async def updated(stand_in: Start, activated_ms: float = 0.0, **settings: Any) -> StandIn:
    one = await stand_in(**settings)
    one.run(NEW, 2, activated_ms)
    return one


async def quickly(fleet: Fleet, expectation: Expectation = EXPECTED, rounds: int = 2) -> VerifyOutcome:
    """Verify, and give up after so many rounds."""
    return await verify(fleet, "ns", expectation, Rounds(rounds))


async def test_all_attest(stand_in: Start, fleet_of: Make) -> None:
    replicas = [await updated(stand_in, ms) for ms in (100, 250, 130)]
    progress: list[tuple[int, int, str]] = []
    outcome = await verify(
        fleet_of(gateway=replicas[:1], dispatcher=replicas[1:]),
        "ns",
        EXPECTED,
        Deadline.after(10),
        lambda *step: progress.append(step),
    )
    assert outcome.is_attested
    assert (outcome.replicas, outcome.rounds, outcome.mismatches, outcome.missing) == (3, 1, [], [])
    assert [(s.service, s.replicas, s.done) for s in outcome.services] == [("gateway", 1, 1), ("dispatcher", 2, 2)]
    assert outcome.mixed_version_window_ms == 150
    assert outcome.first_activated_at == STARTED_AT + timedelta(milliseconds=100)
    assert [(done, of) for done, of, _ in progress] == [(done, 3) for done in range(4)]
    assert progress[0][2] == progress[-1][2] == "verifying, round 1"
    assert [one.called("/attestation") for one in replicas] == [1, 1, 1]


async def test_an_acknowledgement_proves_nothing(stand_in: Start, fleet_of: Make) -> None:
    """It answered «activated», and goes on with the old classes: as a stock service does today."""
    one, liar = await updated(stand_in), await stand_in()
    outcome = await quickly(fleet_of(gateway=[one, liar]))
    assert not outcome.is_attested
    assert [(p.reason, p.epoch, p.endpoint) for p in outcome.mismatches] == [("stale", 1, liar.address)]
    assert outcome.services[0].done == 1


def attesting(**changes: Any) -> Handler:
    """Attests the expected release but for these fields."""

    async def handler(request: web.Request) -> web.StreamResponse:
        one = StandIn(epoch=2, definitions=dict(NEW))
        full = request.query.get("detail") == "full"
        return answered(one.attestation(request.query["nonce"], full=full).model_copy(update=changes))

    return handler


WRONG_DIGEST = "sha256:" + "f" * 64
FULL_LIE = attesting(epoch=3, content_digest=content_digest(LATER), definitions={**LATER, "TaskDefinition/x": "y"})

DOES_NOT_COUNT: list[tuple[str, Handler, str, str]] = [
    ("earlier epoch", attesting(epoch=1), "stale", "runs epoch 1 instead of 2"),
    ("no release", attesting(epoch=0, activated_at=None), "stale", "runs epoch 0 instead of 2"),
    ("says why it is stale", attesting(epoch=1, problem="no such module: numpy"), "stale", "no such module: numpy"),
    ("right epoch, other classes", attesting(content_digest=WRONG_DIGEST), "other_content", WRONG_DIGEST),
    ("later, and hides its list", attesting(epoch=3, content_digest=WRONG_DIGEST), "other_content", "does not say"),
    ("later, list of another digest", FULL_LIE, "other_content", "does not say with which definitions"),
    ("another nonce", attesting(nonce="0" * 32), "invalid", "nonce"),
    ("no token", always(401), "unauthorised", "401"),
    ("cut off", always(503), "unreachable", "cannot reach the API server"),
    ("garbage", always(200, "?"), "invalid", "Attestation"),
]


@pytest.mark.parametrize(
    ("handler", "reason", "text"), [case[1:] for case in DOES_NOT_COUNT], ids=[case[0] for case in DOES_NOT_COUNT]
)
async def test_what_does_not_count(stand_in: Start, fleet_of: Make, handler: Handler, reason: str, text: str) -> None:
    good, bad = await updated(stand_in), await stand_in(handlers={"/attestation": handler})
    outcome = await quickly(fleet_of(gateway=[good, bad]))
    assert not outcome.is_attested
    (problem,) = outcome.mismatches
    assert (problem.endpoint, problem.reason) == (bad.address, reason)
    assert text in problem.message
    assert outcome.replicas == 1


async def test_a_later_release_counts_where_the_closure_is_the_same(stand_in: Start, fleet_of: Make) -> None:
    """Another update, which does not overlap, was committed meanwhile. One replica tells for all of its content."""
    replicas = [await stand_in() for _ in range(6)]
    for one in replicas:
        one.run(LATER, 3)
    outcome = await verify(fleet_of(gateway=replicas), "ns", EXPECTED, Deadline.after(10))
    assert outcome.is_attested
    asked_in_full = [q for one in replicas for path, q in one.calls if q.get("detail") == "full"]
    assert len(asked_in_full) == 1
    assert outcome.mixed_version_window_ms is None


@pytest.mark.parametrize(
    ("live", "counts"),
    [
        (LATER, True),
        ({**OLD, **OTHER}, False),
        (OTHER, False),
    ],
    ids=["the closure's", "another version", "missing"],
)
async def test_a_later_release_is_judged_by_the_closure(
    stand_in: Start, fleet_of: Make, live: dict[str, str], counts: bool
) -> None:
    one = await stand_in()
    one.run(live, 3)
    outcome = await quickly(fleet_of(gateway=[one]))
    assert outcome.is_attested is counts
    if not counts:
        assert outcome.mismatches[0].reason == "other_content"
        assert "TaskDefinition/encoder" in outcome.mismatches[0].message


async def test_a_deleted_definition_must_be_absent(stand_in: Start, fleet_of: Make) -> None:
    gone = Expectation(epoch=2, content_digest=content_digest(OTHER), definitions={"TaskDefinition/encoder": None})
    one = await stand_in()
    one.run(LATER, 3)
    assert not (await quickly(fleet_of(gateway=[one]), gone)).is_attested
    one.run({**OTHER, "TaskDefinition/new": "sha256:" + "9" * 64}, 4)
    assert (await quickly(fleet_of(gateway=[one]), gone)).is_attested


async def test_without_the_closure_a_later_release_must_have_the_same_content(stand_in: Start, fleet_of: Make) -> None:
    strict = EXPECTED.model_copy(update={"definitions": None})
    one = await stand_in()
    one.run(LATER, 3)
    assert not (await quickly(fleet_of(gateway=[one]), strict)).is_attested
    assert one.called("/attestation") > 0
    assert all("detail" not in query for _, query in one.calls)
    one.run(NEW, 4)
    assert (await quickly(fleet_of(gateway=[one]), strict)).is_attested


async def test_content_is_learned_from_another_replica_where_one_does_not_tell(stand_in: Start, fleet_of: Make) -> None:
    hides, tells = await stand_in(), await stand_in()
    for one in (hides, tells):
        one.run(LATER, 3)

    async def plain_only(request: web.Request) -> web.StreamResponse:
        return answered(hides.attestation(request.query["nonce"], full=False))

    hides.handlers["/attestation"] = plain_only
    outcome = await verify(fleet_of(gateway=[hides, tells]), "ns", EXPECTED, Deadline.after(10))
    assert outcome.is_attested
    assert outcome.replicas == 2


async def test_it_asks_again_until_the_last_one_has_flipped(stand_in: Start, fleet_of: Make) -> None:
    """And those that were first are asked once more at the end: one round in which all attest."""
    first, last = await updated(stand_in), await stand_in()

    async def flips_at_the_third_question(request: web.Request) -> web.StreamResponse:
        if last.called("/attestation") == 3:
            last.run(NEW, 2, 500)
        return answered(last.attestation(request.query["nonce"]))

    last.handlers["/attestation"] = flips_at_the_third_question
    outcome = await verify(fleet_of(gateway=[first, last]), "ns", EXPECTED, Deadline.after(10))
    assert outcome.is_attested
    assert outcome.rounds == 4
    assert (first.called("/attestation"), last.called("/attestation")) == (2, 4)
    assert outcome.mixed_version_window_ms == 500


async def test_one_that_was_restarted_meanwhile_is_noticed(stand_in: Start, fleet_of: Make) -> None:
    """It attested in the first round; while the other was waited for, it came back with the old classes."""
    restarted, slow = await updated(stand_in), await stand_in()

    async def flips_late(request: web.Request) -> web.StreamResponse:
        if slow.called("/attestation") == 2:
            slow.run(NEW, 2)
            restarted.run(OLD, 1)
        return answered(slow.attestation(request.query["nonce"]))

    slow.handlers["/attestation"] = flips_late
    outcome = await quickly(fleet_of(gateway=[restarted, slow]), rounds=6)
    assert not outcome.is_attested
    assert [(p.reason, p.endpoint) for p in outcome.mismatches] == [("stale", restarted.address)]


async def test_a_late_joiner_is_asked_too(stand_in: Start, fleet_of: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    early, late = await updated(stand_in), await stand_in()
    late.pod_uid, early.pod_uid = "uid-late", "uid-early"
    listings = list_as(
        monkeypatch, lambda n: [as_pod("gateway", early)] + ([as_pod("gateway", late)] if n >= 1 else [])
    )
    outcome = await quickly(fleet_of(gateway=[early]))
    assert not outcome.is_attested
    assert [p.pod for p in outcome.mismatches] == [late.pod]
    late.run(NEW, 2)
    del listings[:]
    assert (await quickly(fleet_of(gateway=[early]), rounds=10)).is_attested


async def test_one_that_is_gone_is_not_waited_for(
    stand_in: Start, fleet_of: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    stays, leaves = await updated(stand_in), await stand_in()
    stays.pod_uid, leaves.pod_uid = "uid-stays", "uid-leaves"
    list_as(monkeypatch, lambda n: [as_pod("gateway", stays)] + ([as_pod("gateway", leaves)] if n < 2 else []))
    outcome = await asyncio.wait_for(verify(fleet_of(gateway=[stays]), "ns", EXPECTED, Deadline.after(3600)), 60)
    assert outcome.is_attested
    assert outcome.replicas == 1


@pytest.mark.parametrize(
    ("attested_pod", "attested_uid", "counts"),
    [
        ("pod-a", "uid-a", True),
        ("renamed", "uid-a", True),
        ("pod-a", "uid-b", False),
        ("pod-a", "", True),
        ("pod-b", "", False),
    ],
)
async def test_another_pod_at_the_same_address_does_not_count(
    stand_in: Start,
    fleet_of: Make,
    monkeypatch: pytest.MonkeyPatch,
    attested_pod: str,
    attested_uid: str,
    counts: bool,
) -> None:
    one = await updated(stand_in, pod=attested_pod, pod_uid=attested_uid)
    list_as(monkeypatch, lambda _: [as_pod("gateway", one, pod="pod-a", pod_uid="uid-a")])
    outcome = await quickly(fleet_of(gateway=[one]))
    assert outcome.is_attested is counts
    if not counts:
        assert outcome.mismatches[0].reason == "other_pod"


async def test_a_pod_without_an_address_holds_the_update(
    stand_in: Start, fleet_of: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = await updated(stand_in)
    one.pod_uid = "uid-one"
    pending = as_pod(
        "gateway", one, pod="pending", pod_uid="uid-p", address=None, ready=False, obstacle="no address yet"
    )
    list_as(monkeypatch, lambda _: [as_pod("gateway", one), pending])
    outcome = await quickly(fleet_of(gateway=[one]))
    assert not outcome.is_attested
    assert [(p.pod, p.reason, p.message) for p in outcome.mismatches] == [("pending", "not_ready", "no address yet")]


async def test_ready_and_silent_is_unreachable(
    stand_in: Start, fleet_of: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = await stand_in(handlers={"/attestation": always(500)})
    list_as(monkeypatch, lambda _: [as_pod("gateway", one)])
    assert (await quickly(fleet_of(gateway=[one]))).mismatches[0].reason == "unreachable"


async def test_optional_services_are_asked_and_not_waited_for(stand_in: Start, fleet_of: Make) -> None:
    one, old = await updated(stand_in), await stand_in()
    fleet = fleet_of(gateway=[one], cache={"replicas": [old], "required": False})
    outcome = await asyncio.wait_for(verify(fleet, "ns", EXPECTED, Deadline.after(3600)), 60)
    assert outcome.is_attested
    assert [(p.service, p.reason) for p in outcome.ignored] == [("cache", "stale")]
    assert outcome.replicas == 1


async def test_nothing_found_is_no_success(fleet_of: Make, stand_in: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    one = await updated(stand_in)
    fleet = fleet_of(gateway=[one])
    list_as(monkeypatch, lambda _: [as_pod("another", one)])
    outcome = await quickly(fleet)
    assert not outcome.is_attested
    assert outcome.missing[0].startswith("gateway: found 0 replicas")


async def test_too_few_replicas_are_waited_for(
    fleet_of: Make, stand_in: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, second = await updated(stand_in, pod_uid="uid-1"), await updated(stand_in, pod_uid="uid-2")
    fleet = fleet_of(gateway={"replicas": [one], "min_replicas": 2})
    list_as(monkeypatch, lambda n: [as_pod("gateway", one)] + ([as_pod("gateway", second)] if n >= 3 else []))
    outcome = await quickly(fleet, rounds=10)
    assert outcome.is_attested
    assert outcome.replicas == 2


async def test_nothing_found_is_a_success_where_the_file_says_so(
    fleet_of: Make, stand_in: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = await updated(stand_in)
    fleet = fleet_of(gateway={"replicas": [one], "min_replicas": 0})
    list_as(monkeypatch, lambda _: [as_pod("another", one)])
    outcome = await asyncio.wait_for(verify(fleet, "ns", EXPECTED, Deadline.after(3600)), 60)
    assert outcome.is_attested
    assert outcome.replicas == 0


async def test_a_process_that_came_up_on_the_new_release_does_not_lengthen_the_window(
    stand_in: Start, fleet_of: Make
) -> None:
    flipped = [await updated(stand_in, ms) for ms in (100, 140)]
    late = await stand_in(started_at=STARTED_AT + timedelta(minutes=3))
    late.run(NEW, 2, activated_ms=50)
    outcome = await verify(fleet_of(gateway=[*flipped, late]), "ns", EXPECTED, Deadline.after(10))
    assert outcome.is_attested
    assert outcome.mixed_version_window_ms == 40


async def test_no_time_at_all(stand_in: Start, fleet_of: Make) -> None:
    one = await updated(stand_in)
    outcome = await verify(fleet_of(gateway=[one]), "ns", EXPECTED, Deadline.after(0))
    assert not outcome.is_attested
    assert outcome.mismatches[0].message == "not asked: no time was left"
    assert one.calls == []


async def test_an_outcome_stays_small(stand_in: Start, fleet_of: Make) -> None:
    replicas = [await stand_in(problem="x" * 9000) for _ in range(40)]
    outcome = await quickly(fleet_of(gateway=replicas), rounds=1)
    assert (outcome.mismatch_count, len(outcome.mismatches)) == (40, 20)
    assert len(outcome.model_dump_json()) < 15_000


async def test_cancelled_it_ends_soon(stand_in: Start, fleet_of: Make) -> None:
    one = await stand_in()
    work = asyncio.create_task(verify(fleet_of(gateway=[one]), "ns", EXPECTED, Deadline.after(3600)))
    while one.called("/attestation") < 3:
        await asyncio.sleep(0.001)
    work.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asyncio.wait_for(work, 60)
