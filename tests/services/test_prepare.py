"""Prepare: a table of situations, each with what the outcome says."""

import asyncio
import re
from collections.abc import Awaitable, Callable

import pytest
from aiohttp import web

from taskroll.services.configuration import InvalidConfiguration
from taskroll.services.deadline import Deadline
from taskroll.services.fleet import Fleet
from taskroll.services.prepare import prepare
from taskroll.services.prepared_replicas import PreparedReplicas
from taskroll_agent.contracts import ImportProblem, PrepareAnswer, PrepareRequest, content_digest

from .changing_fleet import as_pod, list_as
from .rounds import Rounds
from .stand_in import NEW, StandIn, always

Start = Callable[..., Awaitable[StandIn]]
Make = Callable[..., Fleet]

REQUEST = PrepareRequest(request_id="r1", definitions=dict(NEW))
ENCODER = ImportProblem(
    definition="TaskDefinition/encoder", module="tasks.encoder", error="ImportError", message="no numpy"
)
LLM = ImportProblem(definition="TaskDefinition/llm", module="tasks.llm", error="SyntaxError", message="line 3")


def cannot(*problems: ImportProblem) -> dict[str, object]:
    answer = PrepareAnswer(request_id="r1", prepared=False, problems=list(problems))
    return {"/prepare": always(200, answer.model_dump_json())}


async def test_every_replica_of_every_service_is_prepared(stand_in: Start, fleet_of: Make) -> None:
    replicas = [await stand_in() for _ in range(5)]
    fleet = fleet_of(gateway=replicas[:2], dispatcher=replicas[2:])
    progress: list[tuple[int, int, str]] = []

    outcome = await prepare(fleet, "ns", REQUEST, Deadline.after(10), lambda *step: progress.append(step))

    assert outcome.is_prepared
    assert outcome.replicas == 5
    assert [(s.service, s.replicas, s.done) for s in outcome.services] == [("gateway", 2, 2), ("dispatcher", 3, 3)]
    assert outcome.content_digests == {content_digest(NEW): 5}
    assert [one.called("/prepare") for one in replicas] == [1] * 5
    assert [(done, of) for done, of, _ in progress] == [(done, 5) for done in range(6)]
    assert progress[0][2] == progress[-1][2] == "preparing"
    assert re.fullmatch(r"preparing, waits for (gateway|dispatcher)/\S+", progress[-2][2])


def hang_up(one: StandIn) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
    async def handler(request: web.Request) -> web.StreamResponse:
        assert request.transport is not None
        request.transport.abort()
        return web.Response()

    return handler


async def test_the_others_are_asked_once_the_first_has_prepared(stand_in: Start, fleet_of: Make) -> None:
    """First is one of a required service; one that is out of reach is passed over."""
    cache, dead, first, other = [await stand_in() for _ in range(4)]
    dead.handlers["/prepare"] = always(503)
    asked: list[str] = []

    async def note(request: web.Request, one: StandIn) -> web.StreamResponse:
        asked.append(one.address)
        return one.contract_answer("/prepare", await request.json())

    async def first_answers(request: web.Request) -> web.StreamResponse:
        answer = await note(request, first)
        assert (asked, dead.called("/prepare")) == ([first.address], 3)
        return answer

    first.handlers["/prepare"] = first_answers
    for one in (cache, other):
        one.handlers["/prepare"] = lambda request, one=one: note(request, one)
    fleet = fleet_of(cache={"replicas": [cache], "required": False}, gateway=[dead, first], dispatcher=[other])
    outcome = await prepare(fleet, "ns", REQUEST, Rounds(6))
    assert {problem.endpoint for problem in outcome.unprepared} == {dead.address}
    assert sorted(asked) == sorted([first.address, cache.address, other.address])


async def test_while_the_first_hangs_up_nobody_else_is_asked(stand_in: Start, fleet_of: Make) -> None:
    """Its process lives, so it is asked again; what it loads may still be the cause."""
    one, other = await stand_in(), await stand_in()
    one.handlers["/prepare"] = hang_up(one)
    outcome = await prepare(fleet_of(gateway=[one], dispatcher=[other]), "ns", REQUEST, Rounds(8))
    assert [problem.endpoint for problem in outcome.unprepared] == [one.address]
    assert one.called("/prepare") > 3
    assert other.calls == []


async def test_what_several_replicas_report_is_one_problem(stand_in: Start, fleet_of: Make) -> None:
    """Of the replicas that are asked after the first, which could."""
    first = await stand_in()
    bad = [await stand_in(handlers=cannot(ENCODER)) for _ in range(7)] + [await stand_in(handlers=cannot(ENCODER, LLM))]
    outcome = await prepare(fleet_of(gateway=[first, *bad]), "ns", REQUEST, Deadline.after(10))
    assert not outcome.is_prepared
    encoder, llm = outcome.problems
    assert (encoder.definitions, encoder.error, encoder.replica_count, len(encoder.replicas)) == (
        ["TaskDefinition/encoder"],
        "ImportError",
        8,
        5,
    )
    assert str(llm) == f"TaskDefinition/llm: SyntaxError: line 3 (on gateway/{bad[-1].address})"
    assert "and 3 more" in str(encoder)
    assert outcome.problem_count == 2
    assert outcome.services[0].done == 1


async def test_a_finding_of_several_definitions_is_one_and_comes_before_what_follows_from_it(
    stand_in: Start, fleet_of: Make
) -> None:
    def finding(name: str, module: str, error: str, message: str) -> ImportProblem:
        return ImportProblem(definition=f"TaskDefinition/{name}", module=module, error=error, message=message)

    said = [
        finding("split", "lib.split", "NotLoaded", "lib.split, line 1: it imports lib.words, which did not load"),
        *[
            finding(f"word-{n}", "lib.words", "NameError", "lib.words, line 21: name x is not defined")
            for n in range(7)
        ],
    ]
    one = await stand_in(handlers=cannot(*said))
    outcome = await prepare(fleet_of(gateway=[one]), "ns", REQUEST, Deadline.after(10))
    assert outcome.problem_count == 8
    cause, follower = outcome.problems
    named = ", ".join(f"TaskDefinition/word-{n}" for n in range(5))
    assert str(cause) == (
        f"{named} and 2 more: NameError: lib.words, line 21: name x is not defined (on gateway/{one.address})"
    )
    assert (follower.definitions, follower.error) == (["TaskDefinition/split"], "NotLoaded")


async def test_it_ends_at_once_where_a_replica_cannot(stand_in: Start, fleet_of: Make) -> None:
    """The one that is out of reach is not waited for: the update fails anyway."""
    dead, one = await stand_in(handlers={"/prepare": always(503)}), await stand_in(handlers=cannot(ENCODER))
    outcome = await asyncio.wait_for(prepare(fleet_of(gateway=[dead, one]), "ns", REQUEST, Deadline.after(3600)), 60)
    assert [problem.definitions for problem in outcome.problems] == [["TaskDefinition/encoder"]]
    assert [problem.reason for problem in outcome.unprepared] == ["unreachable"]


FAULTS = [
    ("no token", always(401), "unauthorised"),
    ("refused", always(409, '{"reason": "other_update", "message": "busy", "epoch": 3}'), "refused"),
    ("garbage", always(200, "?"), "invalid"),
    ("no reason given", cannot()["/prepare"], "refused"),
]


@pytest.mark.parametrize(("handler", "reason"), [f[1:] for f in FAULTS], ids=[f[0] for f in FAULTS])
async def test_a_fault_that_will_not_pass_is_named(
    stand_in: Start, fleet_of: Make, handler: object, reason: str
) -> None:
    one = await stand_in(handlers={"/prepare": handler})
    outcome = await asyncio.wait_for(prepare(fleet_of(gateway=[one]), "ns", REQUEST, Deadline.after(3600)), 60)
    (problem,) = outcome.unprepared
    assert (problem.service, problem.endpoint, problem.reason) == ("gateway", one.address, reason)
    assert not outcome.is_prepared
    assert one.called("/prepare") == 1


async def test_a_replica_out_of_reach_is_tried_until_it_answers(stand_in: Start, fleet_of: Make) -> None:
    one = await stand_in()

    async def up_at_the_fifth_time(request: web.Request) -> web.StreamResponse:
        if one.called("/prepare") < 5:
            return web.Response(status=503)
        return one.contract_answer("/prepare", await request.json())

    one.handlers["/prepare"] = up_at_the_fifth_time
    outcome = await prepare(fleet_of(gateway=[one]), "ns", REQUEST, Deadline.after(30))
    assert outcome.is_prepared
    assert one.called("/prepare") == 5


async def test_a_replica_out_of_reach_is_named_when_the_deadline_passes(stand_in: Start, fleet_of: Make) -> None:
    one, dead = await stand_in(), await stand_in(handlers={"/prepare": always(503)})
    outcome = await prepare(fleet_of(gateway=[one, dead]), "ns", REQUEST, Rounds(8))
    assert not outcome.is_prepared
    assert [str(p) for p in outcome.unprepared] == [
        f"gateway/{dead.address} ({dead.address}): unreachable: it answered 503 (it cannot reach the API server)"
    ]
    assert one.called("/prepare") == 1


async def test_no_time_at_all(stand_in: Start, fleet_of: Make) -> None:
    one = await stand_in()
    outcome = await prepare(fleet_of(gateway=[one]), "ns", REQUEST, Deadline.after(0))
    assert not outcome.is_prepared
    assert outcome.unprepared[0].message == "not called: no time was left"
    assert one.calls == []


async def test_one_that_starts_late_is_prepared_too(
    stand_in: Start, fleet_of: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    early, late = await stand_in(), await stand_in()
    listings = list_as(
        monkeypatch, lambda n: [as_pod("gateway", early)] + ([as_pod("gateway", late)] if n >= 1 else [])
    )
    outcome = await prepare(fleet_of(gateway=[early]), "ns", REQUEST, Deadline.after(10))
    assert outcome.replicas == 2
    assert (early.called("/prepare"), late.called("/prepare")) == (1, 1)
    assert listings == [0, 1, 2]


async def test_one_that_goes_away_is_not_waited_for(
    stand_in: Start, fleet_of: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, dead = await stand_in(), await stand_in(handlers={"/prepare": always(503)})
    list_as(monkeypatch, lambda n: [as_pod("gateway", one)] + ([as_pod("gateway", dead)] if n < 2 else []))
    outcome = await asyncio.wait_for(prepare(fleet_of(gateway=[one]), "ns", REQUEST, Deadline.after(3600)), 60)
    assert outcome.is_prepared
    assert outcome.replicas == 1


async def test_optional_services_are_told_once_and_not_waited_for(stand_in: Start, fleet_of: Make) -> None:
    one, dead, bad = await stand_in(), await stand_in(handlers={"/prepare": always(503)}), await stand_in()
    bad.handlers |= cannot(LLM)
    fleet = fleet_of(gateway=[one], cache={"replicas": [dead, bad], "required": False})
    outcome = await asyncio.wait_for(prepare(fleet, "ns", REQUEST, Deadline.after(3600)), 60)
    assert outcome.is_prepared
    assert outcome.problems == []
    assert {(p.service, p.reason) for p in outcome.ignored} == {("cache", "unreachable"), ("cache", "refused")}
    assert "TaskDefinition/llm: SyntaxError: line 3" in {p.message for p in outcome.ignored}
    assert dead.called("/prepare") == 3  # the attempts of one call


async def test_a_service_with_too_few_replicas_is_named(stand_in: Start, fleet_of: Make) -> None:
    fleet = fleet_of(gateway={"replicas": [await stand_in()], "min_replicas": 2})
    outcome = await prepare(fleet, "ns", REQUEST, Rounds(2))
    assert not outcome.is_prepared
    assert outcome.missing == [
        "gateway: found 1 replicas in its list of addresses, at least 2 expected; correct its discovery, or say "
        "min_replicas: 1"
    ]


async def test_replicas_with_other_contents_are_counted_by_digest(stand_in: Start, fleet_of: Make) -> None:
    other = await stand_in(definitions={"TaskDefinition/llm": "sha256:" + "7" * 64})
    outcome = await prepare(fleet_of(gateway=[await stand_in(), other]), "ns", REQUEST, Deadline.after(10))
    assert len(outcome.content_digests) == 2


async def test_an_outcome_stays_small(stand_in: Start, fleet_of: Make) -> None:
    many = [
        ENCODER.model_copy(update={"definition": f"TaskDefinition/t{n}", "message": "x" * 9000}) for n in range(300)
    ]
    fleet = fleet_of(gateway=[await stand_in(handlers=cannot(*many)) for _ in range(30)])
    outcome = await prepare(fleet, "ns", REQUEST, Deadline.after(10))
    assert outcome.problem_count == 300
    assert len(outcome.model_dump_json()) < 20_000


async def test_a_token_that_is_gone_is_an_error_of_ours(
    stand_in: Start, fleet_of: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    fleet = fleet_of(gateway=[await stand_in()])
    monkeypatch.delenv("TASKROLL_AGENT_TOKEN")
    with pytest.raises(InvalidConfiguration, match="TASKROLL_AGENT_TOKEN"):
        await prepare(fleet, "ns", REQUEST, Deadline.after(10))


async def test_cancelled_in_the_middle_it_settles(stand_in: Start, fleet_of: Make) -> None:
    one, two = await stand_in(), await stand_in()
    arrived, let_go = asyncio.Event(), asyncio.Event()
    loaded: list[str] = []

    async def slow(request: web.Request) -> web.StreamResponse:
        arrived.set()
        await let_go.wait()
        loaded.append("prepare")
        return one.contract_answer("/prepare", await request.json())

    one.handlers["/prepare"] = slow
    work = asyncio.create_task(prepare(fleet_of(gateway=[one], dispatcher=[two]), "ns", REQUEST, Deadline.after(60)))
    await arrived.wait()
    work.cancel()
    done, _ = await asyncio.wait({work}, timeout=0.02)
    assert not done
    let_go.set()
    with pytest.raises(asyncio.CancelledError):
        await work
    assert loaded == ["prepare"]


async def test_who_has_prepared_the_update_is_not_asked_again(
    stand_in: Start, fleet_of: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither a process that started since nor one that discovery cannot tell from its predecessor is taken for it."""
    same, restarted, unseen, late = [await stand_in() for _ in range(4)]
    first = [
        as_pod("gateway", same, restarts=0),
        as_pod("gateway", restarted, restarts=0),
        as_pod("gateway", unseen, restarts=None),
    ]
    then = [first[0], as_pod("gateway", restarted, restarts=1), first[2], as_pod("gateway", late, restarts=0)]
    fleet, prepared = fleet_of(gateway=[same]), PreparedReplicas()
    for listed in (first, then):
        list_as(monkeypatch, lambda _, listed=listed: listed)
        outcome = await prepare(fleet, "ns", REQUEST, Deadline.after(10), prepared=prepared)
        assert (outcome.is_prepared, outcome.replicas) == (True, len(listed))
    assert [one.called("/prepare") for one in (same, restarted, unseen, late)] == [1, 2, 2, 1]

    other = REQUEST.model_copy(update={"request_id": "r2"})
    await prepare(fleet, "ns", other, Deadline.after(10), prepared=prepared)
    assert same.called("/prepare") == 2, "of another update nothing is known"
