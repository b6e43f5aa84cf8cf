"""Make one call to replicas of several services side by side, each service by its own strategy."""

from collections.abc import Callable, Coroutine, Iterable
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict

from .deadline import Deadline
from .fleet import Fleet
from .replica import Replica
from .settle import settle_all
from .strategy import Strategy
from .targets import Answers, OnDone, Targets

T = TypeVar("T")

FIRST_PROBLEMS = 20
"""So many problems are named in an outcome, the rest is counted: an outcome stands in a workflow's history."""


class ServiceCount(BaseModel):
    """How far one service is."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    service: str
    required: bool
    replicas: int
    done: int


async def across_services(
    fleet: Fleet,
    replicas: Iterable[Replica],
    call: Callable[[Strategy, Targets], Coroutine[Any, Any, Answers[T]]],
    deadline: Deadline,
    on_done: OnDone | None = None,
) -> Answers[T]:
    """Make the call to these replicas, all services side by side; return the answers, service by service."""
    by_service: dict[str, list[Replica]] = {}
    for replica in replicas:
        by_service.setdefault(replica.service, []).append(replica)
    parts: list[Coroutine[Any, Any, Answers[T]]] = []
    for name, some in by_service.items():
        service = fleet.config.service(name)
        parts.append(call(fleet.strategy(service), Targets(service, some, deadline, on_done)))
    return [answer for answers in await settle_all(parts, deadline) for answer in answers]


def key_of(replica: Replica) -> tuple[str, str]:
    """What makes it the same replica in the next listing: its service and its pod's uid."""
    return replica.service, replica.pod_uid
