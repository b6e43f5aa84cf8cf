"""Discovery against a real kube-apiserver: what it lets one write, and what comes back of it."""

import secrets
from collections.abc import AsyncIterator
from typing import Any

import pytest

from taskroll.cluster import objects
from taskroll.cluster.connection import Cluster
from taskroll.cluster.errors import Invalid
from taskroll.cluster.kubeconfig import ClusterSettings
from taskroll.cluster.objects import create_object, delete_object, read_object, replace_object
from taskroll.cluster.resources import DEPLOYMENT, NAMESPACE
from taskroll.devstack import StackInfo
from taskroll.services.configuration import ServiceConfig, ServicesConfig
from taskroll.services.discovery import ENDPOINT_SLICE, POD, discover
from taskroll.services.replicas import list_replicas, shortfalls

MANAGER = "taskroll-test"


@pytest.fixture(scope="module")
async def cluster(stack: StackInfo) -> AsyncIterator[Cluster]:
    settings = ClusterSettings(kubeconfig=str(stack.kubeconfig), context=stack.kube_context)
    async with await Cluster.connect(settings) as connected:
        yield connected


@pytest.fixture
async def namespace(cluster: Cluster) -> str:
    name = f"services-{secrets.token_hex(4)}"
    await create_object(cluster, NAMESPACE, None, {"metadata": {"name": name}}, manager=MANAGER)
    return name


def service(discovery: dict[str, Any], port: int | str = "http") -> ServiceConfig:
    return ServiceConfig.model_validate(
        {"name": "gateway", "discovery": discovery, "port": port, "token": {"env": "TASKROLL_AGENT_TOKEN"}}
    )


BY_LABEL = service({"type": "pods", "labels": {"app": "gateway"}})
BY_SLICE = service({"type": "endpoint-slices", "service": "gateway"})


async def make_pod(
    cluster: Cluster, namespace: str, name: str, status: dict[str, Any], app: str = "gateway", **metadata: Any
) -> str:
    """Create a pod, give it that status, return its uid."""
    container = {"name": "main", "image": "none", "ports": [{"name": "http", "containerPort": 8000}]}
    body = {
        "metadata": {"name": name, "labels": {"app": app}, **metadata},
        "spec": {"containers": [container], "automountServiceAccountToken": False},
    }
    created = await create_object(cluster, POD, namespace, body, manager=MANAGER)
    if status:
        body = {**created.raw, "status": status}
        await replace_object(cluster, POD, namespace, body, manager=MANAGER, subresource="status")
    return created.uid


def running(ip: str, ready: str = "True") -> dict[str, Any]:
    return {
        "phase": "Running",
        "podIP": ip,
        "podIPs": [{"ip": ip}],
        "conditions": [{"type": "Ready", "status": ready}],
    }


async def make_slice(cluster: Cluster, namespace: str, name: str, *endpoints: dict[str, Any], **fields: Any) -> None:
    body = {
        "metadata": {"name": name, "labels": {"kubernetes.io/service-name": "gateway"}},
        "addressType": "IPv4",
        "ports": [{"name": "http", "port": 8000}],
        "endpoints": list(endpoints),
        **fields,
    }
    await create_object(cluster, ENDPOINT_SLICE, namespace, body, manager=MANAGER)


def target(name: str, uid: str) -> dict[str, Any]:
    return {"targetRef": {"kind": "Pod", "name": name, "uid": uid}}


async def test_pods_by_label(cluster: Cluster, namespace: str) -> None:
    # 127/8 is taken in a pod's status: tests and the demo run their replicas there.
    ready = await make_pod(cluster, namespace, "a-ready", running("127.0.3.1"))
    await make_pod(cluster, namespace, "b-not-ready", running("10.0.0.2", ready="False"))
    await make_pod(cluster, namespace, "c-ipv6", running("fd00::3"))
    await make_pod(cluster, namespace, "d-pending", {})
    await make_pod(cluster, namespace, "e-ended", {"phase": "Succeeded"})
    await make_pod(cluster, namespace, "f-failed", {"phase": "Failed"})
    leaving = await make_pod(cluster, namespace, "g-leaving", running("10.0.0.7"), finalizers=["taskroll.dev/test"])
    await make_pod(cluster, namespace, "h-other-app", running("10.0.0.8"), app="dispatcher")
    now = await read_object(cluster, POD, namespace, "g-leaving")
    await delete_object(cluster, POD, namespace, "g-leaving", uid=leaving, resource_version=now.resource_version)
    assert (await read_object(cluster, POD, namespace, "g-leaving")).is_deleting

    found = await discover(cluster, namespace, BY_LABEL)

    assert [(r.pod, r.address, r.port, r.ready) for r in found] == [
        ("a-ready", "127.0.3.1", 8000, True),
        ("b-not-ready", "10.0.0.2", 8000, False),
        ("c-ipv6", "fd00::3", 8000, True),
        ("d-pending", None, 8000, False),
    ]
    assert found[0].pod_uid == ready
    assert found[3].obstacle == "the pod has no address yet (phase Pending)"


async def test_endpoint_slices_of_a_service(cluster: Cluster, namespace: str) -> None:
    await make_slice(
        cluster,
        namespace,
        "gateway-1",
        {"addresses": ["10.0.0.1"], "conditions": {"ready": True}, **target("a", "uid-a")},
        {"addresses": ["10.0.0.2"], "conditions": {"ready": False, "serving": False}, **target("b", "uid-b")},
        {"addresses": ["10.0.0.3"], "conditions": {"ready": False, "terminating": True}, **target("c", "uid-c")},
    )
    await make_slice(
        cluster,
        namespace,
        "gateway-2",
        {"addresses": ["10.0.0.1"], "conditions": {"ready": False}, **target("a", "uid-a")},
        {"addresses": ["10.0.0.4"]},
        ports=[{"name": "http", "port": 9000}],
    )
    await make_slice(
        cluster,
        namespace,
        "gateway-6",
        {"addresses": ["fd00::1"], "conditions": {"ready": True}, **target("a", "uid-a")},
        {"addresses": ["fd00::5"], "conditions": {"ready": True}, **target("e", "uid-e")},
        addressType="IPv6",
    )
    await make_slice(
        cluster,
        namespace,
        "other",
        {"addresses": ["10.0.0.9"]},
        metadata={"name": "other", "labels": {"kubernetes.io/service-name": "dispatcher"}},
    )

    found = await discover(cluster, namespace, BY_SLICE)

    assert [(r.pod, r.pod_uid, r.endpoint, r.ready) for r in found] == [
        ("10.0.0.4:9000", "static:10.0.0.4:9000", "10.0.0.4:9000", None),
        ("a", "uid-a", "10.0.0.1:8000", True),
        ("b", "uid-b", "10.0.0.2:8000", False),
        ("e", "uid-e", "[fd00::5]:8000", True),
    ]


async def test_the_api_server_takes_no_loopback_address_in_a_slice(cluster: Cluster, namespace: str) -> None:
    with pytest.raises(Invalid, match="loopback"):
        await make_slice(cluster, namespace, "gateway-1", {"addresses": ["127.0.3.1"]})


async def test_more_replicas_than_fit_a_page(cluster: Cluster, namespace: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(objects, "PAGE", 3)
    for number in range(8):
        await make_pod(cluster, namespace, f"pod-{number}", running(f"10.0.0.{number + 1}"))
    assert [r.pod for r in await discover(cluster, namespace, BY_LABEL)] == [f"pod-{n}" for n in range(8)]


async def test_replicas_of_all_services_in_the_order_of_the_file(cluster: Cluster, namespace: str) -> None:
    await make_pod(cluster, namespace, "a", running("10.0.0.1"))
    config = ServicesConfig(services=[BY_SLICE.model_copy(update={"name": "by-slice"}), BY_LABEL])
    listed = await list_replicas(cluster, namespace, config)
    assert list(listed) == ["by-slice", "gateway"]
    assert [len(some) for some in listed.values()] == [0, 1]


@pytest.mark.parametrize(
    ("wanted", "pods", "required", "finding"),
    [
        (2, 2, True, None),
        (1, 2, True, None),  # more than wanted: a rollout is under way
        (3, 2, True, "found 2 replicas as pods with labels app=gateway, Deployment gateway wants 3"),
        (3, 2, False, None),
        (None, 2, True, "there is no Deployment gateway in namespace"),
    ],
)
async def test_fewer_replicas_than_the_deployment_wants(
    cluster: Cluster, namespace: str, wanted: int | None, pods: int, required: bool, finding: str | None
) -> None:
    if wanted is not None:
        container = {"name": "main", "image": "none"}
        template = {"metadata": {"labels": {"app": "gateway"}}, "spec": {"containers": [container]}}
        body = {
            "metadata": {"name": "gateway"},
            "spec": {"replicas": wanted, "selector": {"matchLabels": {"app": "gateway"}}, "template": template},
        }
        await create_object(cluster, DEPLOYMENT, namespace, body, manager=MANAGER)
    for number in range(pods):
        await make_pod(cluster, namespace, f"pod-{number}", running(f"10.0.0.{number + 1}"))
    gateway = BY_LABEL.model_copy(update={"deployment": "gateway", "required": required})
    config = ServicesConfig(services=[gateway])
    found = await shortfalls(cluster, namespace, config, await list_replicas(cluster, namespace, config))
    assert len(found) == (finding is not None)
    if finding is not None:
        assert finding in found[0]
