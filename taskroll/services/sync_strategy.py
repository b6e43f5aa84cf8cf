"""The strategy ``sync``: Cornserve's own ``SyncTaskRegistry``, by which a service reads the custom resources again.

The method takes an empty message and answers with a status: field 1, an enum, 1 for OK. On the wire these are the
well-known types ``Empty`` and ``Int32Value``, so no generated stubs are needed. Its OK says that the service has seen
the resources; a service that cannot replace a class it has imported says it all the same.
"""

from __future__ import annotations

from importlib.util import find_spec
from typing import ClassVar

from google.protobuf.empty_pb2 import Empty
from google.protobuf.wrappers_pb2 import Int32Value

from taskroll_agent.contracts import (
    AbortAnswer,
    AbortRequest,
    ActivateAnswer,
    ActivateRequest,
    Attestation,
    PrepareAnswer,
    PrepareRequest,
)

from .answers import Answered, Failure, Invalid, ReplicaAnswer, Unreachable, Unverified, shorten
from .configuration import ServiceConfig
from .deadline import Deadline
from .reach import Reach
from .replica import Replica
from .strategy import Traits
from .targets import Answers, Targets

_OK = 1


def _missing() -> str | None:
    return None if find_spec("grpc") else "grpcio is not installed; pip install 'taskroll[sync]'"


class SyncStrategy:
    """Calls the method at each replica. See `strategy.Strategy` for the methods."""

    traits: ClassVar[Traits] = Traits(
        before_commit="cannot be checked, the service loads nothing beside what it runs",
        after_commit="not verified, its OK proves nothing",
        verifies=False,
        missing=_missing,
    )

    def __init__(self, reach: Reach) -> None:
        del reach

    async def prepare(self, targets: Targets, request: PrepareRequest) -> Answers[PrepareAnswer]:
        """Nothing to call."""
        return targets.all(Unverified("its service loads nothing before the commit"))

    async def invalidate(self, targets: Targets, request: ActivateRequest) -> Answers[ActivateAnswer]:
        """Call each replica, once."""

        async def one(replica: Replica, deadline: Deadline) -> ReplicaAnswer[ActivateAnswer]:
            failure = await _sync(targets.service, replica, deadline)
            told = ActivateAnswer(epoch=request.epoch, content_digest=request.content_digest, already_active=False)
            return failure or Answered(told)

        return await targets.each(one)

    async def abort(self, targets: Targets, request: AbortRequest) -> Answers[AbortAnswer]:
        """Nothing was prepared, so nothing is dropped."""
        return targets.all(Answered(AbortAnswer(dropped=False)))

    async def attest(self, targets: Targets, *, full: bool = False, once: bool = False) -> Answers[Attestation]:
        """The platform has no call that would tell."""
        return targets.all(Unverified("strategy sync cannot find out what a replica runs"))


async def _sync(service: ServiceConfig, replica: Replica, deadline: Deadline) -> Failure | None:
    import grpc.aio  # an optional dependency: `Traits.missing` has looked for it

    if service.sync is None:
        raise ValueError(f"service {service.name}: sync: is missing")  # the configuration's validator saw to it
    if replica.obstacle is not None or replica.endpoint == "-":
        return Unreachable(replica.obstacle or "it has no address")
    seconds = deadline.capped(service.sync.timeout)
    if seconds <= 0:
        return Unreachable("not called: no time was left")
    # Goes only where discovery says, as all calls to replicas do.
    async with grpc.aio.insecure_channel(replica.endpoint, options=[("grpc.enable_http_proxy", 0)]) as channel:
        call = channel.unary_unary(
            f"/{service.sync.grpc_service}/SyncTaskRegistry",
            request_serializer=Empty.SerializeToString,
            response_deserializer=Int32Value.FromString,
        )
        try:
            answer: Int32Value = await call(Empty(), timeout=seconds)
        except grpc.aio.AioRpcError as error:
            reason = shorten(f"SyncTaskRegistry: {error.code().name}: {error.details()}", 200)
            if error.code() in {grpc.StatusCode.UNIMPLEMENTED, grpc.StatusCode.INTERNAL}:
                return Invalid(f"{reason}; compare sync.grpc_service and port")
            return Unreachable(reason)
    return None if answer.value == _OK else Invalid(f"SyncTaskRegistry answered status {answer.value} instead of OK")
