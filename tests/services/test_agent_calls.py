"""One call to one replica: what each situation on the wire comes back as."""

import asyncio
import gzip
import json
import socket
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime

import pytest
from aiohttp import web
from pydantic import SecretStr

from taskroll.services.agent_calls import AgentCalls, CallLimits
from taskroll.services.answers import Answered, Invalid, ProcessEnded, Refused, ReplicaAnswer, Unauthorised, Unreachable
from taskroll.services.deadline import Deadline
from taskroll.services.replica import Replica
from taskroll_agent.contracts import (
    AbortRequest,
    ActivateRequest,
    Attestation,
    PrepareAnswer,
    PrepareRequest,
    Refusal,
)

from .stand_in import NEW, TOKEN, Handler, StandIn, always, answered

Start = Callable[..., Awaitable[StandIn]]
PREPARE = PrepareRequest(request_id="r1", definitions=dict(NEW))


def replica_at(where: str, **changes: object) -> Replica:
    host, _, port = where.rpartition(":")
    found = Replica(
        service="gateway", pod="pod-0", pod_uid=f"static:{where}", address=host.strip("[]"), port=int(port), ready=None
    )
    return found.model_copy(update=changes)


async def attest(calls: AgentCalls, one: StandIn, *, seconds: float = 10.0) -> ReplicaAnswer[Attestation]:
    return await calls.attest(replica_at(one.address), SecretStr(TOKEN), Deadline.after(seconds))


async def prepare(calls: AgentCalls, address: str, *, seconds: float = 10.0) -> ReplicaAnswer[PrepareAnswer]:
    return await calls.prepare(replica_at(address), SecretStr(TOKEN), PREPARE, Deadline.after(seconds))


async def test_each_call_is_sent_as_the_contract_says(calls: AgentCalls, stand_in: Start) -> None:
    one = await stand_in()
    replica, token, deadline = replica_at(one.address), SecretStr(TOKEN), Deadline.after(10)
    activation = ActivateRequest(request_id="r1", epoch=2, release="r", content_digest="sha256:" + "a" * 64)

    assert isinstance(await calls.prepare(replica, token, PREPARE, deadline), Answered)
    assert isinstance(await calls.activate(replica, token, activation, deadline), Answered)
    assert isinstance(await calls.abort(replica, token, AbortRequest(request_id="r1"), deadline), Answered)
    plain = await calls.attest(replica, token, deadline)
    full = await calls.attest(replica, token, deadline, full=True)

    assert isinstance(plain, Answered)
    assert plain.value.definitions is None
    assert isinstance(full, Answered)
    assert full.value.definitions == one.definitions
    assert one.calls[0] == ("/prepare", PREPARE.model_dump(mode="json"))
    assert one.calls[1] == ("/activate", activation.model_dump(mode="json"))
    assert one.calls[2] == ("/abort", {"request_id": "r1"})
    nonces = [query["nonce"] for path, query in one.calls if path == "/attestation"]
    assert len(set(nonces)) == 2
    assert all(len(nonce) == 32 for nonce in nonces)


async def test_reaches_an_agent_over_ipv6(calls: AgentCalls, stand_in: Start) -> None:
    one = await stand_in(host="::1")
    assert one.address.startswith("[::1]:")
    assert isinstance(await attest(calls, one), Answered)


async def with_another_nonce(request: web.Request) -> web.StreamResponse:
    return answered(StandIn().attestation("recorded-earlier"))


async def without_a_nonce(request: web.Request) -> web.StreamResponse:
    return answered(StandIn().attestation(None))


async def endless(request: web.Request) -> web.StreamResponse:
    response = web.StreamResponse(headers={"Content-Type": "application/json"})
    await response.prepare(request)
    while True:  # until the caller hangs up: that ends the handler
        await response.write(b" " * 65536)


async def bomb(request: web.Request) -> web.StreamResponse:
    body = gzip.compress(b" " * (64 * 1024 * 1024))
    return web.Response(body=body, headers={"Content-Encoding": "gzip", "Content-Type": "application/json"})


REFUSAL = Refusal(reason="stale_epoch", message="runs epoch 7", epoch=7)
SECRET_IN_BODY = json.dumps({"pod": "s3cr3t-in-the-body"})

SITUATIONS: list[tuple[str, Handler, type, str]] = [
    ("no token wanted here", always(401), Unauthorised, "401"),
    ("forbidden", always(403), Unauthorised, "403"),
    ("refusal", always(409, REFUSAL.model_dump_json()), Refused, ""),
    ("409 without a refusal", always(409, "{}"), Invalid, "Refusal"),
    ("unprocessable", always(422), Invalid, "version may not fit"),
    ("nothing there", always(404), Invalid, "no agent answers"),
    ("cut off from the API server", always(503), Unreachable, "cannot reach the API server"),
    ("failing", always(500), Unreachable, "500"),
    ("overloaded", always(429), Unreachable, "429"),
    ("garbage", always(200, "<html>"), Invalid, "Attestation"),
    ("empty", always(200, " "), Invalid, "Attestation"),
    ("a list", always(200, "[]"), Invalid, "Attestation"),
    ("fields missing", always(200, SECRET_IN_BODY), Invalid, "pod_uid"),
    ("no content", always(204, " "), Invalid, "204"),
    ("wrong nonce", with_another_nonce, Invalid, "nonce"),
    ("no nonce", without_a_nonce, Invalid, "nonce"),
    ("endless body", endless, Invalid, "larger than the bound"),
    ("packed body", bomb, Invalid, "Attestation"),
]


@pytest.mark.parametrize(("handler", "kind", "text"), [s[1:] for s in SITUATIONS], ids=[s[0] for s in SITUATIONS])
async def test_what_each_answer_means(
    calls: AgentCalls, stand_in: Start, handler: Handler, kind: type, text: str
) -> None:
    one = await stand_in(handlers={"/attestation": handler})
    answer = await attest(calls, one)
    assert type(answer) is kind
    if isinstance(answer, Refused):
        assert answer.refusal == REFUSAL
    else:
        assert text in answer.reason  # type: ignore[union-attr]
        assert "s3cr3t" not in answer.reason  # type: ignore[union-attr]


async def test_a_body_that_says_it_is_too_large_is_not_read(stand_in: Start) -> None:
    one = await stand_in(handlers={"/attestation": always(200, "x" * 2000)})
    async with AgentCalls(CallLimits(max_answer_bytes=1000)) as calls:
        assert await attest(calls, one) == Invalid("its answer is larger than the bound on answers")


async def test_a_redirect_is_not_followed(calls: AgentCalls, stand_in: Start) -> None:
    elsewhere = await stand_in()
    target = f"http://{elsewhere.address}/taskroll/v1/attestation"
    one = await stand_in(handlers={"/attestation": always(302, Location=target)})
    answer = await attest(calls, one)
    assert isinstance(answer, Invalid)
    assert "redirect" in answer.reason
    assert elsewhere.calls == []


async def test_proxies_of_the_environment_are_not_used(stand_in: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    proxy, one = await stand_in(), await stand_in()
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy"):
        monkeypatch.setenv(name, f"http://{proxy.address}")
    async with AgentCalls() as calls:
        assert isinstance(await attest(calls, one), Answered)
    assert proxy.calls == []


async def test_cookies_are_not_kept(calls: AgentCalls, stand_in: Start) -> None:
    cookies: list[str | None] = []

    async def handler(request: web.Request) -> web.StreamResponse:
        cookies.append(request.headers.get("Cookie"))
        response = answered(StandIn().attestation(request.query["nonce"]))
        response.set_cookie("who", "me")
        return response

    one = await stand_in(host="127.0.0.1", handlers={"/attestation": handler})
    named = replica_at(f"localhost:{one.port}")  # a cookie jar keeps cookies of names, not of addresses
    for _ in range(2):
        assert isinstance(await calls.attest(named, SecretStr(TOKEN), Deadline.after(10)), Answered)
    assert cookies == [None, None]


async def test_a_closed_port_is_tried_three_times_then_unreachable(calls: AgentCalls) -> None:
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))  # bound and not listening: refused at once, and nobody else gets the port
        answer = await prepare(calls, f"127.0.0.1:{held.getsockname()[1]}")
    assert isinstance(answer, Unreachable)
    assert "ClientConnectorError" in answer.reason


async def test_attempts_are_counted(calls: AgentCalls, stand_in: Start) -> None:
    one = await stand_in(handlers={"/prepare": always(503), "/attestation": always(503)})
    await prepare(calls, one.address)
    assert one.called("/prepare") == 3
    await calls.attest(replica_at(one.address), SecretStr(TOKEN), Deadline.after(10), once=True)
    assert one.called("/attestation") == 1


async def test_a_lost_answer_is_asked_for_again(calls: AgentCalls, stand_in: Start) -> None:
    one = await stand_in()

    async def hang_up_once(request: web.Request) -> web.StreamResponse:
        assert request.transport is not None
        if one.called("/prepare") == 1:
            request.transport.abort()
        return one.contract_answer("/prepare", await request.json())

    one.handlers["/prepare"] = hang_up_once
    assert isinstance(await prepare(calls, one.address), Answered)
    assert one.called("/prepare") == 2


async def test_a_process_that_was_started_again_meanwhile_is_not_asked_again(
    calls: AgentCalls, stand_in: Start
) -> None:
    one = await stand_in()

    async def die_and_start(request: web.Request) -> web.StreamResponse:
        assert request.transport is not None
        one.started_at = datetime.now(UTC)
        request.transport.abort()
        return web.Response()

    one.handlers["/prepare"] = die_and_start
    answer = await prepare(calls, one.address)
    assert isinstance(answer, ProcessEnded)
    assert "started again" in answer.reason
    assert one.called("/prepare") == 1


async def test_what_is_not_http_is_unreachable(calls: AgentCalls) -> None:
    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readline()
        writer.write(b"220 mail.example ESMTP\r\n")
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(talk, "127.0.0.1", 0)
    async with server:
        host, port = server.sockets[0].getsockname()[:2]
        assert isinstance(await prepare(calls, f"{host}:{port}"), Unreachable)


async def test_a_slow_replica_costs_its_time_out_and_no_more(stand_in: Start) -> None:
    one = await stand_in()
    let_go = asyncio.Event()

    async def slow(_: web.Request) -> web.StreamResponse:
        await let_go.wait()
        return web.Response()

    one.handlers["/attestation"] = slow
    async with AgentCalls(CallLimits(call_timeout=0.05, attempts=1)) as calls:
        answer = await attest(calls, one)
    let_go.set()
    assert answer == Unreachable("no answer within 0.05 s", "lost")


async def test_the_deadline_bounds_the_call_and_its_attempts(calls: AgentCalls, stand_in: Start) -> None:
    one = await stand_in()
    let_go = asyncio.Event()

    async def slow(_: web.Request) -> web.StreamResponse:
        await let_go.wait()
        return web.Response()

    one.handlers["/prepare"] = slow
    answer = await prepare(calls, one.address, seconds=0.05)
    let_go.set()
    assert isinstance(answer, Unreachable)
    assert one.called("/prepare") <= 1
    called = len(one.calls)
    assert await prepare(calls, one.address, seconds=0) == Unreachable("not called: no time was left")
    assert len(one.calls) == called


async def test_a_replica_with_an_obstacle_is_not_called(calls: AgentCalls) -> None:
    replica = replica_at("127.0.0.1:1", address=None, obstacle="the pod has no address yet (phase Pending)")
    answer = await calls.attest(replica, SecretStr(TOKEN), Deadline.after(1))
    assert answer == Unreachable("the pod has no address yet (phase Pending)")


async def test_an_answer_for_another_update_is_invalid(calls: AgentCalls, stand_in: Start) -> None:
    other = PrepareAnswer(request_id="r2", prepared=True)
    one = await stand_in(handlers={"/prepare": always(200, other.model_dump_json())})
    answer = await prepare(calls, one.address)
    assert isinstance(answer, Invalid)
    assert "r2" in answer.reason


async def test_no_more_exchanges_at_a_time_than_allowed(stand_in: Start) -> None:
    one = await stand_in()
    now = most = 0
    full = asyncio.Event()
    let_go = asyncio.Event()

    async def counting(request: web.Request) -> web.StreamResponse:
        nonlocal now, most
        now += 1
        most = max(most, now)
        if now == 3:
            full.set()
        await let_go.wait()
        now -= 1
        return answered(one.attestation(request.query["nonce"]))

    one.handlers["/attestation"] = counting
    async with AgentCalls(CallLimits(concurrency=3)) as calls:
        asking = [asyncio.create_task(attest(calls, one)) for _ in range(12)]
        await full.wait()
        let_go.set()
        answers = await asyncio.gather(*asking)
    assert all(isinstance(answer, Answered) for answer in answers)
    assert most == 3


async def test_the_token_is_not_shown(calls: AgentCalls, stand_in: Start) -> None:
    one = await stand_in(token="another")
    answer = await attest(calls, one)
    assert isinstance(answer, Unauthorised)
    assert TOKEN not in repr(answer)


async def test_a_closed_seam_says_how_to_open_it() -> None:
    with pytest.raises(RuntimeError, match="async with AgentCalls"):
        await AgentCalls().attest(replica_at("127.0.0.1:1"), SecretStr(TOKEN), Deadline.after(1))
