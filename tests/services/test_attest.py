"""What each replica runs, whatever that is."""

from collections.abc import Awaitable, Callable

import pytest
from aiohttp import web

from taskroll.services.attest import attest_all
from taskroll.services.deadline import Deadline
from taskroll.services.fleet import Fleet
from taskroll.services.replica import ReplicaProblem
from taskroll_agent.contracts import Attestation, content_digest

from .changing_fleet import as_pod, list_as
from .stand_in import NEW, OLD, StandIn, always

Start = Callable[..., Awaitable[StandIn]]
Make = Callable[..., Fleet]


async def test_versions_of_all_replicas_and_what_they_stand_for(stand_in: Start, fleet_of: Make) -> None:
    old, new, other, dead = [await stand_in() for _ in range(4)]
    for one in (new, other):
        one.run(NEW, 2)
    dead.handlers["/attestation"] = always(401)
    progress: list[tuple[int, int, str]] = []
    said = await attest_all(
        fleet_of(gateway=[old, new], dispatcher=[other, dead]), "ns", Deadline.after(10), lambda *s: progress.append(s)
    )
    epochs = [answer.epoch if isinstance(answer, Attestation) else answer.reason for _, answer in said.replicas]
    assert sorted(map(str, epochs)) == ["1", "2", "2", "unauthorised"]
    assert [replica.service for replica, _ in said.replicas] == ["gateway", "gateway", "dispatcher", "dispatcher"]
    assert said.contents == {content_digest(OLD): OLD, content_digest(NEW): NEW}
    assert sum(query.get("detail") == "full" for one in (old, new, other) for _, query in one.calls) == 2
    assert progress[-1] == (4, 4, "attesting")


async def test_a_stranger_at_the_address_is_named(
    stand_in: Start, fleet_of: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = await stand_in(pod_uid="uid-of-somebody-else")
    list_as(monkeypatch, lambda _: [as_pod("gateway", one, pod_uid="uid-a")])
    said = await attest_all(fleet_of(gateway=[one]), "ns", Deadline.after(10))
    ((_, answer),) = said.replicas
    assert isinstance(answer, ReplicaProblem)
    assert answer.reason == "other_pod"
    assert said.contents == {}


async def test_a_replica_that_fails_once_is_asked_again(stand_in: Start, fleet_of: Make) -> None:
    one = await stand_in()

    async def second_time(request: web.Request) -> web.StreamResponse:
        if one.called("/attestation") == 1:
            return await always(500)(request)
        return one.contract_answer("/attestation", dict(request.query))

    one.handlers["/attestation"] = second_time
    said = await attest_all(fleet_of(gateway=[one]), "ns", Deadline.after(10))
    assert isinstance(said.replicas[0][1], Attestation)
