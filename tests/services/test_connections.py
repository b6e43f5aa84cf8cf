"""Which connections the calls keep."""

import resource
from collections.abc import Awaitable, Callable

import pytest
from aiohttp import web
from pydantic import SecretStr

from taskroll.services.agent_calls import AgentCalls
from taskroll.services.answers import Answered
from taskroll.services.deadline import Deadline
from taskroll.services.replica import Replica

from .stand_in import TOKEN, StandIn

PLENTY = 100_000


@pytest.mark.parametrize(("open_files", "connections"), [(PLENTY, 1), (1024, 3)])
async def test_connections_are_kept_where_the_process_may_open_enough_files(
    stand_in: Callable[..., Awaitable[StandIn]],
    monkeypatch: pytest.MonkeyPatch,
    open_files: int,
    connections: int,
) -> None:
    monkeypatch.setattr(resource, "getrlimit", lambda _: (open_files, PLENTY))
    one = await stand_in()
    ports: set[int] = set()

    async def handler(request: web.Request) -> web.StreamResponse:
        assert request.transport is not None
        ports.add(request.transport.get_extra_info("peername")[1])
        return one.contract_answer("/attestation", dict(request.query))

    one.handlers["/attestation"] = handler
    replica = Replica(service="s", pod="p", pod_uid="u", address=one.host, port=one.port, ready=True)
    async with AgentCalls() as calls:
        for _ in range(3):
            assert isinstance(await calls.attest(replica, SecretStr(TOKEN), Deadline.after(10)), Answered)
    assert len(ports) == connections
