"""Which replicas a listing stands for, from plain JSON; `test_discovery_on_api_server.py` has real listings."""

import pytest

from taskroll.cluster.connection import Cluster
from taskroll.services.configuration import ServicesConfig
from taskroll.services.endpoint_slice_discovery import replicas_from_slices
from taskroll.services.kubernetes_objects import Endpoint, EndpointSlice, Pod
from taskroll.services.pod_discovery import replicas_from_pods
from taskroll.services.replica import Replica, host_port
from taskroll.services.replicas import shortfalls

from .conftest import NoCluster


def pod(name: str = "a", ip: str | None = "10.0.0.1", phase: str = "Running", ready: str | None = "True") -> Pod:
    found: Pod = {"metadata": {"name": name, "uid": f"uid-{name}"}, "status": {"phase": phase}}
    if ip is not None:
        found["status"]["podIP"] = ip
    if ready is not None:
        found["status"]["conditions"] = [{"type": "PodScheduled", "status": "True"}, {"type": "Ready", "status": ready}]
    return found


def endpoint(name: str | None, *addresses: str, **conditions: bool) -> Endpoint:
    found: Endpoint = {"addresses": list(addresses), "conditions": {**conditions}}  # type: ignore[typeddict-item]
    if name is not None:
        found["targetRef"] = {"kind": "Pod", "name": name, "uid": f"uid-{name}"}
    return found


def slice_of(*endpoints: Endpoint, family: str = "IPv4", port: int = 8000, name: str = "http") -> EndpointSlice:
    return {
        "metadata": {"name": "slice-1"},
        "addressType": family,
        "endpoints": list(endpoints),
        "ports": [{"name": name, "port": port}],
    }


def only(replicas: list[Replica]) -> Replica:
    (replica,) = replicas
    return replica


def test_a_pod() -> None:
    assert only(replicas_from_pods("s", 8000, [pod()])) == Replica(
        service="s", pod="a", pod_uid="uid-a", address="10.0.0.1", port=8000, ready=True
    )


@pytest.mark.parametrize(("status", "expected"), [("True", True), ("False", False), ("Unknown", False), (None, False)])
def test_readiness_of_a_pod(status: str | None, expected: bool) -> None:
    assert only(replicas_from_pods("s", 8000, [pod(ready=status)])).ready is expected


@pytest.mark.parametrize("phase", ["Succeeded", "Failed"])
def test_a_pod_that_has_ended_is_no_replica(phase: str) -> None:
    assert replicas_from_pods("s", 8000, [pod(phase=phase)]) == []


def test_a_pod_without_an_address_is_there_with_an_obstacle() -> None:
    replica = only(replicas_from_pods("s", 8000, [pod(ip=None, phase="Pending", ready=None)]))
    assert replica.obstacle == "the pod has no address yet (phase Pending)"
    assert replica.endpoint == "-"


def test_a_pod_that_is_being_deleted_is_terminating() -> None:
    leaving = pod()
    leaving["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z"
    assert only(replicas_from_pods("s", 8000, [leaving])).terminating


def test_a_named_port_of_a_pod() -> None:
    one = pod()
    one["spec"] = {
        "containers": [{}, {"ports": [{"containerPort": 9}, {"name": "agent", "containerPort": 8001}]}],
        "initContainers": [{"ports": [{"name": "sidecar", "containerPort": 8002}]}],
    }
    assert only(replicas_from_pods("s", "agent", [one])).port == 8001
    assert only(replicas_from_pods("s", "sidecar", [one])).port == 8002
    assert only(replicas_from_pods("s", "http", [one])).obstacle == "no container of the pod has a port named 'http'"


def test_endpoints_of_several_slices() -> None:
    found = replicas_from_slices(
        "s", "http", [slice_of(endpoint("a", "10.0.0.1", ready=True)), slice_of(endpoint("b", "10.0.0.2"), port=9000)]
    )
    assert [(r.pod, r.pod_uid, r.address, r.port, r.ready) for r in found] == [
        ("a", "uid-a", "10.0.0.1", 8000, True),
        ("b", "uid-b", "10.0.0.2", 9000, None),
    ]


READY_4, READY_6 = endpoint("a", "10.0.0.1", ready=True), endpoint("a", "fd00::1", ready=True)
NOT_READY = endpoint("a", "10.0.0.9", ready=False)
LEAVING = endpoint("a", "10.0.0.1", ready=False, terminating=True)


@pytest.mark.parametrize(
    ("slices", "address", "ready", "terminating"),
    [
        ([slice_of(READY_4), slice_of(READY_4)], "10.0.0.1", True, False),
        ([slice_of(READY_6, family="IPv6"), slice_of(READY_4)], "10.0.0.1", True, False),
        ([slice_of(READY_6, family="IPv6"), slice_of(NOT_READY)], "fd00::1", True, False),
        ([slice_of(NOT_READY), slice_of(READY_4)], "10.0.0.1", True, False),
        ([slice_of(READY_4), slice_of(LEAVING)], "10.0.0.1", True, True),
        ([slice_of(READY_4, name="grpc", port=50051), slice_of(READY_6, family="IPv6")], "fd00::1", True, False),
    ],
    ids=["moved between slices", "dual stack", "the ready address", "the ready entry", "leaving", "the named port"],
)
def test_a_pod_in_two_slices_is_one_replica(
    slices: list[EndpointSlice], address: str, ready: bool, terminating: bool
) -> None:
    replica = only(replicas_from_slices("s", "http", slices))
    assert (replica.address, replica.ready, replica.terminating) == (address, ready, terminating)


def test_an_endpoint_that_is_not_ready_is_there() -> None:
    assert only(replicas_from_slices("s", 8000, [slice_of(NOT_READY)])).ready is False


def test_an_endpoint_without_a_pod_is_unknown_until_it_attests() -> None:
    replica = only(replicas_from_slices("s", 8000, [slice_of(endpoint(None, "10.0.0.1"))]))
    assert (replica.pod, replica.pod_uid, replica.is_uid_known) == ("10.0.0.1:8000", "static:10.0.0.1:8000", False)


def test_what_cannot_be_called_says_why() -> None:
    named = only(replicas_from_slices("s", "grpc", [slice_of(READY_4)]))
    assert named.obstacle == "EndpointSlice slice-1 has no port named 'grpc'"
    fqdn = only(replicas_from_slices("s", 8000, [slice_of(endpoint(None, "a.example"), family="FQDN")]))
    assert fqdn.obstacle is not None
    assert "FQDN" in fqdn.obstacle


@pytest.mark.parametrize("nothing", [{}, {"endpoints": None, "ports": None}, {"endpoints": [], "ports": []}])
def test_a_slice_without_endpoints(nothing: EndpointSlice) -> None:
    assert replicas_from_slices("s", "http", [nothing]) == []


def test_ipv6_in_a_url() -> None:
    assert host_port("fd00::1", 8000) == "[fd00::1]:8000"
    assert host_port("10.0.0.1", 8000) == "10.0.0.1:8000"


async def test_too_few_replicas_are_named() -> None:
    token = {"env": "X"}
    config = ServicesConfig.model_validate(
        {
            "services": [
                {"name": "a", "discovery": {"type": "pods", "labels": {"app": "a"}}, "port": 1, "token": token},
                {"name": "b", "discovery": {"type": "endpoint-slices", "service": "b"}, "port": 1, "token": token}
                | {"min_replicas": 2},
                {"name": "c", "discovery": {"type": "pods", "labels": {"app": "c"}}, "port": 1, "token": token}
                | {"required": False},
            ]
        }
    )
    cluster = Cluster(NoCluster())
    some = [Replica(service="b", pod="b", pod_uid="u", address="10.0.0.1", port=1, ready=True)]
    first, second = await shortfalls(cluster, "ns", config, {"a": [], "b": some, "c": []})
    assert first.startswith("a: found 0 replicas as pods with labels app=a, at least 1 expected; ")
    assert second.startswith("b: found 1 replicas in the EndpointSlices of Service b, at least 2 expected; ")
    assert await shortfalls(cluster, "ns", config, {"a": some, "b": some * 2, "c": []}) == []
