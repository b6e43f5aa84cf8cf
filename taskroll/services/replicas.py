"""List the replicas of all services."""

from collections.abc import Mapping

from taskroll.cluster.connection import Cluster

from .configuration import PodDiscovery, ServiceConfig, ServicesConfig, StaticDiscovery
from .discovery import discover
from .replica import Replica


async def list_replicas(cluster: Cluster, namespace: str, config: ServicesConfig) -> dict[str, list[Replica]]:
    """List the replicas of each service, by service name, in the order of the file.

    Raises: as `discover`.
    """
    return {service.name: await discover(cluster, namespace, service) for service in config.services}


def shortfalls(config: ServicesConfig, listed: Mapping[str, list[Replica]]) -> list[str]:
    """A sentence for each service that has fewer replicas than it must."""
    return [
        f"{service.name}: found {len(listed[service.name])} replicas {_where(service)}, at least "
        f"{service.least_replicas} expected; correct its discovery, or say min_replicas: {len(listed[service.name])}"
        for service in config.services
        if len(listed[service.name]) < service.least_replicas
    ]


def _where(service: ServiceConfig) -> str:
    match service.discovery:
        case StaticDiscovery():
            return "in its list of addresses"
        case PodDiscovery(labels=labels):
            return "as pods with labels " + ",".join(f"{name}={value}" for name, value in labels.items())
        case discovery:
            return f"in the EndpointSlices of Service {discovery.service}"
