"""List the replicas of all services, and say which services have too few."""

from collections.abc import Mapping

from taskroll.cluster.connection import Cluster
from taskroll.cluster.deployments import find_deployment

from .configuration import PodDiscovery, ServiceConfig, ServicesConfig, StaticDiscovery
from .discovery import discover
from .replica import Replica


async def list_replicas(cluster: Cluster, namespace: str, config: ServicesConfig) -> dict[str, list[Replica]]:
    """List the replicas of each service, by service name, in the order of the file.

    Raises: as `discover`.
    """
    return {service.name: await discover(cluster, namespace, service) for service in config.services}


async def shortfalls(
    cluster: Cluster, namespace: str, config: ServicesConfig, listed: Mapping[str, list[Replica]]
) -> list[str]:
    """A sentence for each service that has fewer replicas than it must, or than its Deployment wants.

    Raises:
        ServiceUnavailable, RefusedByCluster: where a Deployment cannot be read.
    """
    found: list[str] = []
    for service in config.services:
        count = len(listed[service.name])
        if count < service.least_replicas:
            found.append(
                f"{service.name}: found {count} replicas {_where(service)}, at least {service.least_replicas} "
                f"expected; correct its discovery, or say min_replicas: {count}"
            )
        elif service.required and service.deployment is not None:
            found += await _short_of_deployment(cluster, namespace, service, service.deployment, count)
    return found


async def _short_of_deployment(
    cluster: Cluster, namespace: str, service: ServiceConfig, name: str, count: int
) -> list[str]:
    deployment = await find_deployment(cluster, namespace, name)
    if deployment is None:
        return [f"{service.name}: there is no Deployment {name} in namespace {namespace}; correct deployment"]
    if count < deployment.replicas:
        return [
            f"{service.name}: found {count} replicas {_where(service)}, Deployment {name} wants {deployment.replicas}; "
            "see why its pods are not there, or scale it down"
        ]
    return []


def _where(service: ServiceConfig) -> str:
    match service.discovery:
        case StaticDiscovery():
            return "in its list of addresses"
        case PodDiscovery(labels=labels):
            return "as pods with labels " + ",".join(f"{name}={value}" for name, value in labels.items())
        case discovery:
            return f"in the EndpointSlices of Service {discovery.service}"
