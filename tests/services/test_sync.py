"""Strategy ``sync`` against a real gRPC server that speaks Cornserve's messages."""

from collections.abc import AsyncIterator, Awaitable, Callable

import grpc.aio
import pytest
from google.protobuf.empty_pb2 import Empty
from google.protobuf.wrappers_pb2 import Int32Value

from taskroll.cluster.connection import Cluster
from taskroll.services.agent_calls import AgentCalls
from taskroll.services.configuration import ServicesConfig
from taskroll.services.deadline import Deadline
from taskroll.services.expectation import Expectation
from taskroll.services.fleet import Fleet
from taskroll.services.invalidate import InvalidateOutcome, invalidate
from taskroll.services.prepare import prepare
from taskroll.services.verify import verify
from taskroll_agent.contracts import ActivateRequest, PrepareRequest, content_digest

from .conftest import NoCluster
from .stand_in import NEW

MANAGER = "cornserve.resource_manager.ResourceManager"
STATUS_OK, STATUS_ERROR = 1, 2
REQUEST = ActivateRequest(request_id="r1", epoch=2, release="release-2", content_digest=content_digest(NEW))

Answer = Callable[[Empty, grpc.aio.ServicerContext], Awaitable[Int32Value]]


def status(value: int) -> Answer:
    async def answer(_: Empty, __: grpc.aio.ServicerContext) -> Int32Value:
        return Int32Value(value=value)

    return answer


@pytest.fixture
async def fleet_that_answers(calls: AgentCalls) -> AsyncIterator[Callable[[Answer], Awaitable[Fleet]]]:
    servers: list[grpc.aio.Server] = []

    async def start(answer: Answer, called: str = MANAGER) -> Fleet:
        server = grpc.aio.server()
        servers.append(server)
        handler = grpc.unary_unary_rpc_method_handler(
            answer, request_deserializer=Empty.FromString, response_serializer=Int32Value.SerializeToString
        )
        server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(MANAGER, {"SyncTaskRegistry": handler}),))
        port = server.add_insecure_port("127.0.0.1:0")
        await server.start()
        service = {
            "name": "resource-manager",
            "strategy": "sync",
            "sync": {"grpc_service": called, "timeout": 2},
            "discovery": {"type": "static", "addresses": [f"127.0.0.1:{port}"]},
            "required": False,
        }
        return Fleet(ServicesConfig.model_validate({"services": [service]}), Cluster(NoCluster()), calls)

    yield start
    for server in servers:
        await server.stop(None)


async def told(fleet: Fleet) -> InvalidateOutcome:
    return await invalidate(fleet, "ns", REQUEST, Deadline.after(10))


async def test_a_service_that_answers_ok_is_told_and_not_verified(
    fleet_that_answers: Callable[..., Awaitable[Fleet]],
) -> None:
    fleet = await fleet_that_answers(status(STATUS_OK))
    assert (
        await prepare(fleet, "ns", PrepareRequest(request_id="r1", definitions={}), Deadline.after(10))
    ).replicas == 0
    outcome = await told(fleet)
    assert (outcome.activated, outcome.ignored) == (1, [])
    verified = await verify(fleet, "ns", Expectation(epoch=2, content_digest=content_digest(NEW)), Deadline.after(10))
    assert (verified.replicas, verified.unverified) == (0, ["resource-manager"])


@pytest.mark.parametrize(
    ("value", "called", "reason", "text"),
    [
        (STATUS_ERROR, MANAGER, "invalid", "answered status 2 instead of OK"),
        (0, MANAGER, "invalid", "answered status 0 instead of OK"),
        (STATUS_OK, "cornserve.task_dispatcher.TaskDispatcher", "invalid", "UNIMPLEMENTED"),
    ],
)
async def test_what_is_no_success_is_named(
    fleet_that_answers: Callable[..., Awaitable[Fleet]], value: int, called: str, reason: str, text: str
) -> None:
    (problem,) = (await told(await fleet_that_answers(status(value), called))).ignored
    assert problem.reason == reason
    assert text in problem.message


async def test_a_service_that_gives_up_waiting_for_its_watchers(
    fleet_that_answers: Callable[..., Awaitable[Fleet]],
) -> None:
    """As Cornserve answers when its watchers do not see the resources in time."""

    async def late(_: Empty, context: grpc.aio.ServicerContext) -> Int32Value:
        await context.abort(grpc.StatusCode.DEADLINE_EXCEEDED, "Sync task registry timed out")
        raise AssertionError

    (problem,) = (await told(await fleet_that_answers(late))).ignored
    assert problem.reason == "unreachable"  # nothing says of a static address that it is not ready
    assert "Sync task registry timed out" in problem.message
