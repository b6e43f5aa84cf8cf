"""Replicas from the EndpointSlices of one Service."""

from collections.abc import Iterable

from .kubernetes_objects import Endpoint, EndpointSlice
from .replica import UNKNOWN_UID_PREFIX, Replica, host_port

SERVICE_LABEL = "kubernetes.io/service-name"
"""The label by which slices belong to a Service (documented in «EndpointSlices»)."""


def replicas_from_slices(service: str, port: int | str, slices: Iterable[EndpointSlice]) -> list[Replica]:
    """One replica per pod, over all slices.

    A pod may stand in several: in an IPv4 and an IPv6 slice, and in two at once while the controller moves it. It
    counts once, as terminating where any slice says so (a pod does not come back from that), else with the ready one's
    address, IPv4 before IPv6.
    """
    by_pod: dict[str, list[Replica]] = {}
    for slice_ in slices:
        for endpoint in slice_.get("endpoints") or []:
            replica = _replica(service, port, slice_, endpoint)
            by_pod.setdefault(replica.pod_uid, []).append(replica)
    return [_merged(same) for same in by_pod.values()]


def _merged(same: list[Replica]) -> Replica:
    best = min(same, key=lambda replica: (replica.obstacle is not None, not replica.ready, ":" in str(replica.address)))
    return best.model_copy(update={"terminating": any(replica.terminating for replica in same)})


def _slice_port(slice_: EndpointSlice, name: str) -> int | None:
    for port in slice_.get("ports") or []:
        if port.get("name") == name:
            return port.get("port")
    return None


def _replica(service: str, port: int | str, slice_: EndpointSlice, endpoint: Endpoint) -> Replica:
    # More addresses than the first have no meaning (API reference of Endpoint).
    address = next(iter(endpoint.get("addresses") or []), None)
    number = port if isinstance(port, int) else _slice_port(slice_, port)
    obstacle = None
    if address is None:
        obstacle = "its EndpointSlice gives no address"
    elif slice_.get("addressType") == "FQDN":
        obstacle = "its EndpointSlice is of address type FQDN, which does not name single replicas"
    elif number is None:
        name = slice_.get("metadata", {}).get("name", "?")
        obstacle = f"EndpointSlice {name} has no port named {port!r}"
    target = endpoint.get("targetRef", {})
    of_pod = target.get("kind", "Pod") == "Pod" and bool(target.get("uid"))
    conditions = endpoint.get("conditions") or {}
    unknown = host_port(address, number) if address is not None and number is not None else str(address)
    return Replica(
        service=service,
        pod=target.get("name", unknown) if of_pod else unknown,
        pod_uid=target.get("uid", "") if of_pod else UNKNOWN_UID_PREFIX + unknown,
        address=address,
        port=number,
        ready=conditions.get("ready"),
        terminating=bool(conditions.get("terminating")),
        obstacle=obstacle,
    )
