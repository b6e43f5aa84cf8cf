"""Stand-in agents on loopback addresses, and fleets that consist of them."""

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import Any

import pytest

from taskroll.cluster.connection import Cluster
from taskroll.cluster.transport import Call, Reply
from taskroll.services.agent_calls import AgentCalls, CallLimits
from taskroll.services.configuration import ServiceConfig, ServicesConfig
from taskroll.services.fleet import Fleet

from .stand_in import TOKEN, StandIn

QUICK = CallLimits(first_pause=0.001)
"""Bounds under which a test of a fault does not take long; the time-outs are left as they are, so that a busy machine
does not change what is seen."""


class NoCluster:
    """A transport for fleets of static addresses: nobody may ask the API server."""

    async def send(self, call: Call, timeout: float) -> Reply:
        raise AssertionError(f"the API server was asked for {call.path}")

    async def close(self) -> None: ...


@pytest.fixture(autouse=True)
def token_in_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TASKROLL_AGENT_TOKEN", TOKEN)


@pytest.fixture
async def stand_in() -> AsyncIterator[Callable[..., Awaitable[StandIn]]]:
    """Starts a stand-in; each gets a loopback address of its own unless it is given one."""
    running: list[StandIn] = []

    async def start(port: int = 0, **settings: Any) -> StandIn:
        settings.setdefault("host", f"127.0.{len(running) // 250 + 1}.{len(running) % 250 + 1}")
        settings.setdefault("pod", f"pod-{len(running)}")
        running.append(await StandIn(**settings).start(port))
        return running[-1]

    yield start
    for one in running:
        await one.stop()


@pytest.fixture
async def calls() -> AsyncIterator[AgentCalls]:
    async with AgentCalls(QUICK) as open_calls:
        yield open_calls


@pytest.fixture
def fleet_of(calls: AgentCalls) -> Callable[..., Fleet]:
    """Makes a fleet of static addresses: ``fleet_of(gateway=[one, two], cache={"replicas": [three], "order": 1})``."""

    def make(**services: Sequence[StandIn | str] | dict[str, Any]) -> Fleet:
        return Fleet(ServicesConfig(services=[_service(n, s) for n, s in services.items()]), cluster, calls)

    cluster = Cluster(NoCluster())
    return make


def _service(name: str, wanted: Sequence[StandIn | str] | dict[str, Any]) -> ServiceConfig:
    settings: dict[str, Any] = dict(wanted) if isinstance(wanted, dict) else {"replicas": wanted}
    addresses = [one if isinstance(one, str) else one.address for one in settings.pop("replicas")]
    return ServiceConfig.model_validate(
        {
            "name": name,
            "discovery": {"type": "static", "addresses": addresses},
            "token": {"env": "TASKROLL_AGENT_TOKEN"},
            **settings,
        }
    )
