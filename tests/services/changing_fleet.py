"""A fleet whose list of replicas changes while it is worked on, as pods come and go."""

from collections.abc import Callable

import pytest

from taskroll.cluster.connection import Cluster
from taskroll.services import replicas
from taskroll.services.configuration import ServiceConfig
from taskroll.services.replica import Replica

from .stand_in import StandIn


def as_pod(service: str, one: StandIn, **changes: object) -> Replica:
    """The replica as discovery would find it: with its pod's uid."""
    found = Replica(
        service=service,
        pod=one.pod,
        pod_uid=one.pod_uid or f"uid-of-{one.pod}",
        address=one.host,
        port=one.port,
        ready=True,
    )
    return found.model_copy(update=changes)


def list_as(monkeypatch: pytest.MonkeyPatch, listing: Callable[[int], list[Replica]]) -> list[int]:
    """Have each listing of replicas answer ``listing(n)``, n counting from 0. Returns the numbers of listings made.

    Only what the API server would say is replaced; finding out from its JSON is tested against a real one.
    """
    made: list[int] = []

    async def discover(_: Cluster, __: str, service: ServiceConfig) -> list[Replica]:
        if not made or service.name == first:
            made.append(len(made))
        return [replica for replica in listing(made[-1]) if replica.service == service.name]

    first = listing(0)[0].service
    monkeypatch.setattr(replicas, "discover", discover)
    return made
