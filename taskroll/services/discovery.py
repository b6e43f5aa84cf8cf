"""Find the replicas of one service."""

from collections.abc import Mapping
from typing import cast

from taskroll.cluster.connection import Cluster
from taskroll.cluster.objects import list_objects
from taskroll.cluster.resources import POD, Resource

from .configuration import EndpointSliceDiscovery, PodDiscovery, ServiceConfig, StaticDiscovery, split_host_port
from .endpoint_slice_discovery import SERVICE_LABEL, replicas_from_slices
from .kubernetes_objects import EndpointSlice, Pod
from .pod_discovery import replicas_from_pods
from .replica import UNKNOWN_UID_PREFIX, Replica

ENDPOINT_SLICE = Resource("discovery.k8s.io/v1", "EndpointSlice", "endpointslices")


async def discover(cluster: Cluster, namespace: str, service: ServiceConfig) -> list[Replica]:
    """List the service's replicas as they stand now, sorted by pod name.

    One that is not ready, or has no address yet, is there: it may serve in a moment. One that is terminating is not:
    it takes no new work and comes back as another.

    Args:
        cluster: The API server; not asked for static addresses.
        namespace: Of the pods or EndpointSlices.
        service: Of ``services.yaml``.

    Raises:
        ServiceUnavailable: where the API server cannot be reached.
        RefusedByCluster: where it does not let us list pods or EndpointSlices.
    """
    match service.discovery:
        case StaticDiscovery(addresses=addresses):
            found = [_static(service.name, address) for address in addresses]
        case PodDiscovery(labels=labels):
            pods = cast("list[Pod]", await _raw(cluster, POD, namespace, labels))
            found = replicas_from_pods(service.name, service.port, pods)
        case EndpointSliceDiscovery(service=name):
            slices = cast("list[EndpointSlice]", await _raw(cluster, ENDPOINT_SLICE, namespace, {SERVICE_LABEL: name}))
            found = replicas_from_slices(service.name, _port(service), slices)
    there = [replica.model_copy(update={"namespace": namespace}) for replica in found if not replica.terminating]
    return sorted(there, key=lambda replica: replica.pod)


async def _raw(cluster: Cluster, resource: Resource, namespace: str, labels: Mapping[str, str]) -> list[object]:
    return [item.raw for item in await list_objects(cluster, resource, namespace, labels=labels)]


def _port(service: ServiceConfig) -> int | str:
    if service.port is None:
        raise ValueError(f"service {service.name}: port: is missing")  # the configuration's validator saw to it
    return service.port


def _static(service: str, text: str) -> Replica:
    address, port = split_host_port(text)
    return Replica(service=service, pod=text, pod_uid=UNKNOWN_UID_PREFIX + text, address=address, port=port, ready=None)
