"""Replicas from pods."""

from collections.abc import Iterable

from .kubernetes_objects import Pod
from .replica import Replica

_ENDED = {"Succeeded", "Failed"}


def replicas_from_pods(service: str, port: int | str, pods: Iterable[Pod]) -> list[Replica]:
    """One replica per pod that runs or will.

    Pods that have ended are left out. One without an address is kept: it may start at any moment, so it must not be
    taken for absent; it stands with an `obstacle`.
    """
    return [_replica(service, port, pod) for pod in pods if pod.get("status", {}).get("phase") not in _ENDED]


def _replica(service: str, port: int | str, pod: Pod) -> Replica:
    metadata, status = pod.get("metadata", {}), pod.get("status", {})
    address = status.get("podIP") or None
    number = port if isinstance(port, int) else _container_port(pod, port)
    obstacle = None
    if number is None:
        obstacle = f"no container of the pod has a port named {port!r}"
    elif address is None:
        obstacle = f"the pod has no address yet (phase {status.get('phase', 'Pending')})"
    return Replica(
        service=service,
        pod=metadata.get("name", ""),
        pod_uid=metadata.get("uid", ""),
        address=address,
        port=number,
        ready=_ready(pod),
        terminating="deletionTimestamp" in metadata,
        obstacle=obstacle,
    )


def _ready(pod: Pod) -> bool | None:
    for condition in pod.get("status", {}).get("conditions") or []:
        if condition.get("type") == "Ready":
            return {"True": True, "False": False}.get(condition.get("status", ""))
    return None


def _container_port(pod: Pod, name: str) -> int | None:
    spec = pod.get("spec", {})
    for container in [*(spec.get("containers") or []), *(spec.get("initContainers") or [])]:
        for port in container.get("ports") or []:
            if port.get("name") == name:
                return port.get("containerPort")
    return None
