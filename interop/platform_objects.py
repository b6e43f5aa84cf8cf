"""The Kubernetes objects that Cornserve's services look for: what a cluster's nodes and controllers would make."""

from __future__ import annotations

import asyncio
from collections.abc import Generator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from typing import Any

from kubernetes.aio.client import ApiClient, ApiException, CoreV1Api

from .addresses import GRPC_PORT, HTTP_PORT

CONTAINER = "service"
NODE = "gpu-node"
DISPATCHERS = "task-dispatcher-headless"
_STRATEGIC = "application/strategic-merge-patch+json"


class PlatformObjects:
    """Node, Endpoints and Pods of one fleet, written as an administrator does."""

    def __init__(self, api: ApiClient, namespace: str) -> None:
        self._core = CoreV1Api(api)
        self._namespace = namespace

    async def ensure_node(self, gpus: int) -> None:
        """One node for all fleets of a stack: each takes all GPUs that it sees. Also its sign of life."""
        ready = {"type": "Ready", "status": "True", "lastHeartbeatTime": _now()}
        status: Any = {"capacity": {"nvidia.com/gpu": str(gpus)}, "conditions": [ready]}
        with _already_there():
            await self._core.create_node(_named(NODE))
        await self._core.patch_node_status(NODE, {"status": status}, _content_type=_STRATEGIC)

    async def ensure_namespace(self) -> None:
        with _already_there():
            await self._core.create_namespace(_named(self._namespace))

    async def write_dispatcher_endpoints(self, addresses: list[str]) -> None:
        """What the resource manager reads, once, at its start.

        Written over and not made anew: a controller manager clears away after a deletion, at any time.
        """
        ports = [{"name": "http", "port": HTTP_PORT}, {"name": "grpc", "port": GRPC_PORT}]
        subset = {"addresses": [{"ip": address} for address in addresses], "ports": ports}
        # A subset without any address is refused.
        body: Any = {"metadata": {"name": DISPATCHERS}, "subsets": [subset] if addresses else []}
        with _already_there():
            await self._core.create_namespaced_endpoints(self._namespace, body)
        await self._core.replace_namespaced_endpoints(DISPATCHERS, self._namespace, body)

    async def delete_dispatcher_endpoints(self) -> None:
        with suppress(ApiException):
            await self._core.delete_namespaced_endpoints(DISPATCHERS, self._namespace)

    async def create_pod(self, name: str, labels: dict[str, str], address: str) -> str:
        """A pod that runs and is not ready yet. Returns its uid."""
        body: Any = {
            "metadata": {"name": name, "labels": labels},
            "spec": {"containers": [{"name": CONTAINER, "image": "example/service"}]},
        }
        created: Any = await self._core.create_namespaced_pod(self._namespace, body)
        await self.mark_ready(name, False, address)
        return str(created.metadata.uid)

    async def mark_ready(self, name: str, ready: bool, address: str, restarts: int = 0) -> None:
        """Say as a kubelet does whether the pod's container serves, and how often it was started again."""
        state: Any = {"running": {}, "waiting": None} if ready else {"waiting": {"reason": "CrashLoopBackOff"}}
        container = {"name": CONTAINER, "image": "none", "imageID": "none", "ready": ready, "restartCount": restarts}
        status: Any = {
            "phase": "Running",
            "podIP": address,
            "podIPs": [{"ip": address}],
            "conditions": [{"type": "Ready", "status": "True" if ready else "False", "lastTransitionTime": _now()}],
            "containerStatuses": [container | {"state": state}] if restarts else [],
        }
        await self._core.patch_namespaced_pod_status(
            name, self._namespace, {"status": status}, _content_type=_STRATEGIC
        )

    async def pods_of(self, *apps: str) -> list[Any]:
        """Pods with one of these values of the label `app`."""
        found: Any = await self._core.list_namespaced_pod(self._namespace, label_selector=f"app in ({','.join(apps)})")
        return found.items

    async def bind_pod(self, name: str) -> bool:
        """Put a pod on the node, as a scheduler does: a deletion then waits for whoever runs it.

        Returns whether the pod was still there.
        """
        body: Any = {"metadata": {"name": name}, "target": {"apiVersion": "v1", "kind": "Node", "name": NODE}}
        # The client cannot read what is answered, a Status.
        answer = await self._core.create_namespaced_pod_binding_without_preload_content(name, self._namespace, body)
        answer.release()
        if answer.status == 404:
            return False
        answer.raise_for_status()
        return True

    async def is_ready(self, name: str) -> bool:
        """Whether the pod's condition says so."""
        pod: Any = await self._core.read_namespaced_pod(name, self._namespace)
        return any(item.type == "Ready" and item.status == "True" for item in pod.status.conditions)

    async def delete_pod(self, name: str) -> None:
        """At once, as if its node had confirmed it."""
        with suppress(ApiException):
            await self._core.delete_namespaced_pod(name, self._namespace, grace_period_seconds=0)

    async def delete_sidecars(self) -> None:
        """Those of a resource manager before: with no kubelet they would stay, and the next start needs their names."""
        found: Any = await self._core.list_namespaced_pod(self._namespace, label_selector="app=sidecar")
        await asyncio.gather(*(self.delete_pod(pod.metadata.name) for pod in found.items))


def _now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _named(name: str) -> Any:
    return {"metadata": {"name": name}}


@contextmanager
def _already_there() -> Generator[None]:
    """A create that finds the object there is content."""
    try:
        yield
    except ApiException as error:
        if error.status != 409:  # pyright: ignore[reportUnknownMemberType]
            raise
