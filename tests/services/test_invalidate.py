"""Invalidate: who is told, in which order, and what each answer counts as. And abort, its small sister."""

import asyncio
from collections.abc import Awaitable, Callable

import pytest
from aiohttp import web

from taskroll.services.abort import abort_prepared
from taskroll.services.deadline import Deadline
from taskroll.services.fleet import Fleet
from taskroll.services.invalidate import invalidate
from taskroll_agent.contracts import AbortRequest, ActivateAnswer, ActivateRequest, Refusal

from .stand_in import Handler, StandIn, always

Start = Callable[..., Awaitable[StandIn]]
Make = Callable[..., Fleet]

DIGEST = "sha256:" + "a" * 64
REQUEST = ActivateRequest(request_id="r1", epoch=7, release="taskroll-release-000007-r1", content_digest=DIGEST)


def says(epoch: int, digest: str = DIGEST, already: bool = False) -> Handler:
    return always(200, ActivateAnswer(epoch=epoch, content_digest=digest, already_active=already).model_dump_json())


def refuses(reason: str, epoch: int) -> Handler:
    return always(409, Refusal.model_validate({"reason": reason, "message": "no", "epoch": epoch}).model_dump_json())


async def test_every_replica_is_told(stand_in: Start, fleet_of: Make) -> None:
    told, before = [await stand_in(epoch=6) for _ in range(3)], await stand_in(epoch=7)
    progress: list[tuple[int, int, str]] = []
    outcome = await invalidate(
        fleet_of(gateway=told, dispatcher=[before]),
        "ns",
        REQUEST,
        Deadline.after(10),
        lambda *step: progress.append(step),
    )
    assert outcome.is_complete
    assert (outcome.activated, outcome.already_active, outcome.ahead) == (3, 1, 0)
    assert [(s.service, s.replicas, s.done) for s in outcome.services] == [("gateway", 3, 3), ("dispatcher", 1, 1)]
    assert told[0].calls == [("/activate", REQUEST.model_dump(mode="json"))]
    assert [(done, of) for done, of, _ in progress] == [(done, 4) for done in range(5)]
    assert progress[0][2] == progress[-1][2] == "invalidating"


ANSWERS = [
    ("a later release, by its answer", says(8, "sha256:" + "b" * 64), None, ""),
    ("a later release, by refusal", refuses("stale_epoch", 8), None, ""),
    ("stale at the same epoch", refuses("stale_epoch", 7), "refused", "stale_epoch: no"),
    ("another update", refuses("other_update", 6), "refused", "other_update: no"),
    ("not loadable", refuses("not_loadable", 6), "refused", "not_loadable: no"),
    ("an earlier epoch", says(6), "invalid", "it says that it runs epoch 6"),
    ("another content", says(7, "sha256:" + "b" * 64), "invalid", "it says that it runs epoch 7 with sha256:bbb"),
    ("no token", always(401), "unauthorised", "token"),
    ("out of reach", always(503), "unreachable", "503"),
    ("garbage", always(200, "{}"), "invalid", "ActivateAnswer"),
]


@pytest.mark.parametrize(("handler", "reason", "text"), [a[1:] for a in ANSWERS], ids=[a[0] for a in ANSWERS])
async def test_what_each_answer_counts_as(
    stand_in: Start, fleet_of: Make, handler: Handler, reason: str | None, text: str
) -> None:
    fleet = fleet_of(gateway=[await stand_in(handlers={"/activate": handler}), await stand_in()])
    outcome = await invalidate(fleet, "ns", REQUEST, Deadline.after(10))
    assert outcome.activated == 1
    if reason is None:
        assert outcome.is_complete
        assert outcome.ahead == 1
    else:
        assert not outcome.is_complete
        assert outcome.problem_count == 1
        assert outcome.problems[0].reason == reason
        assert text in outcome.problems[0].message


async def test_services_of_a_lower_order_are_told_first(stand_in: Start, fleet_of: Make) -> None:
    first, second, third = await stand_in(), await stand_in(), await stand_in()
    order: list[str] = []
    both_arrived = asyncio.Barrier(2)

    def telling(name: str, one: StandIn, together: bool) -> Handler:
        async def handler(request: web.Request) -> web.StreamResponse:
            if together:  # passes only if both services of this order are told side by side
                await both_arrived.wait()
            order.append(name)
            return one.contract_answer("/activate", await request.json())

        return handler

    first.handlers["/activate"] = telling("dispatcher", first, True)
    second.handlers["/activate"] = telling("task-manager", second, True)
    third.handlers["/activate"] = telling("gateway", third, False)
    fleet = fleet_of(
        gateway={"replicas": [third], "order": 10},
        dispatcher={"replicas": [first], "order": -1},
        manager={"replicas": [second], "order": -1},
    )
    assert (await invalidate(fleet, "ns", REQUEST, Deadline.after(10))).is_complete
    assert order[2] == "gateway"


@pytest.mark.parametrize("keep_going", [False, True])
async def test_after_a_failure_later_orders_are_left_alone_unless_all_shall_be_told(
    stand_in: Start, fleet_of: Make, keep_going: bool
) -> None:
    bad, good, other = await stand_in(handlers={"/activate": always(401)}), await stand_in(), await stand_in()
    fleet = fleet_of(dispatcher=[bad, other], gateway={"replicas": [good], "order": 1})
    outcome = await invalidate(fleet, "ns", REQUEST, Deadline.after(10), keep_going=keep_going)
    assert not outcome.is_complete
    assert outcome.not_told == ([] if keep_going else ["gateway"])
    assert good.called("/activate") == int(keep_going)
    assert other.called("/activate") == 1


async def test_a_failure_in_an_optional_service_stops_nothing(stand_in: Start, fleet_of: Make) -> None:
    bad, good = await stand_in(handlers={"/activate": always(401)}), await stand_in()
    fleet = fleet_of(cache={"replicas": [bad], "required": False}, gateway={"replicas": [good], "order": 1})
    outcome = await invalidate(fleet, "ns", REQUEST, Deadline.after(10))
    assert outcome.is_complete
    assert [problem.service for problem in outcome.ignored] == ["cache"]
    assert good.called("/activate") == 1


async def test_the_deadline_bounds_a_replica_that_does_not_answer(stand_in: Start, fleet_of: Make) -> None:
    let_go = asyncio.Event()

    async def slow(_: web.Request) -> web.StreamResponse:
        await let_go.wait()
        return web.Response()

    one = await stand_in(handlers={"/activate": slow})
    outcome = await invalidate(fleet_of(gateway=[one]), "ns", REQUEST, Deadline.after(0.1))
    let_go.set()
    assert [(p.reason, p.endpoint) for p in outcome.problems] == [("unreachable", one.address)]


async def test_abort_drops_what_was_prepared_and_names_who_did_not_answer(stand_in: Start, fleet_of: Make) -> None:
    nothing = always(200, '{"dropped": false}')
    replicas = [
        await stand_in(),
        await stand_in(handlers={"/abort": nothing}),
        await stand_in(handlers={"/abort": always(401)}),
    ]
    progress: list[tuple[int, int, str]] = []
    outcome = await abort_prepared(
        fleet_of(gateway=replicas),
        "ns",
        AbortRequest(request_id="r1"),
        Deadline.after(10),
        lambda *s: progress.append(s),
    )
    assert (outcome.replicas, outcome.dropped, outcome.problem_count) == (3, 1, 1)
    assert outcome.problems[0].endpoint == replicas[2].address
    assert replicas[0].calls == [("/abort", {"request_id": "r1"})]
    assert progress[-1] == (3, 3, "aborting")
