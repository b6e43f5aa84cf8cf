"""Replicas from pods."""

from collections.abc import Iterable
from datetime import datetime

from taskroll.cluster.deployments import epoch_restarted_for

from .kubernetes_objects import Pod, PodCondition
from .replica import Replica

_ENDED = {"Succeeded", "Failed"}


def replicas_from_pods(service: str, port: int | str | None, pods: Iterable[Pod]) -> list[Replica]:
    """One replica per pod that runs or will.

    Pods that have ended are left out. One without an address is kept: it may start at any moment, so it must not be
    taken for absent; it stands with an `obstacle`. Without a port the replicas are looked at and not called.
    """
    return [_replica(service, port, pod) for pod in pods if pod.get("status", {}).get("phase") not in _ENDED]


def _replica(service: str, port: int | str | None, pod: Pod) -> Replica:
    metadata, status = pod.get("metadata", {}), pod.get("status", {})
    address = status.get("podIP") or None
    number = _container_port(pod, port) if isinstance(port, str) else port
    obstacle = None
    if number is None and port is not None:
        obstacle = f"no container of the pod has a port named {port!r}"
    elif address is None:
        obstacle = f"the pod has no address yet (phase {status.get('phase', 'Pending')})"
    ready = _ready_condition(pod)
    containers = status.get("containerStatuses")
    return Replica(
        service=service,
        pod=metadata.get("name", ""),
        pod_uid=metadata.get("uid", ""),
        address=address,
        port=number,
        ready=ready.get("status") == "True",
        terminating="deletionTimestamp" in metadata,
        obstacle=obstacle,
        created_at=_moment(metadata.get("creationTimestamp")),
        ready_since=_moment(ready.get("lastTransitionTime")) if ready.get("status") == "True" else None,
        restarted_for=epoch_restarted_for(metadata.get("annotations") or {}),
        restarts=None if containers is None else sum(one.get("restartCount", 0) for one in containers),
        waiting=next(
            (waiting.get("reason") for one in containers or [] if (waiting := one.get("state", {}).get("waiting"))),
            None,
        ),
    )


def _moment(text: str | None) -> datetime | None:
    return datetime.fromisoformat(text) if text else None


def _ready_condition(pod: Pod) -> PodCondition:
    for condition in pod.get("status", {}).get("conditions") or []:
        if condition.get("type") == "Ready":
            return condition
    return {}


def _container_port(pod: Pod, name: str) -> int | None:
    spec = pod.get("spec", {})
    for container in [*(spec.get("containers") or []), *(spec.get("initContainers") or [])]:
        for port in container.get("ports") or []:
            if port.get("name") == name:
                return port.get("containerPort")
    return None
