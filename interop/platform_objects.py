"""The Kubernetes objects that Cornserve's services look for: what a cluster's nodes and controllers would make."""

from __future__ import annotations

import asyncio
from collections.abc import Generator
from contextlib import contextmanager, suppress
from typing import Any

from kubernetes.aio.client import ApiClient, ApiException, CoreV1Api

from .addresses import GRPC_PORT, HTTP_PORT

NODE = "gpu-node"
DISPATCHERS = "task-dispatcher-headless"
_STRATEGIC = "application/strategic-merge-patch+json"


class PlatformObjects:
    """Node, Endpoints and Pods of one fleet, written as an administrator does."""

    def __init__(self, api: ApiClient, namespace: str) -> None:
        self._core = CoreV1Api(api)
        self._namespace = namespace

    async def ensure_node(self, gpus: int) -> None:
        """One node for all fleets of a stack: each takes all GPUs that it sees."""
        status: Any = {
            "capacity": {"nvidia.com/gpu": str(gpus)},
            "conditions": [{"type": "Ready", "status": "True"}],
        }
        with _already_there():
            await self._core.create_node(_named(NODE))
        await self._core.patch_node_status(NODE, {"status": status}, _content_type=_STRATEGIC)

    async def ensure_namespace(self) -> None:
        with _already_there():
            await self._core.create_namespace(_named(self._namespace))

    async def create_dispatcher_endpoints(self, addresses: list[str]) -> None:
        """What the resource manager reads, once, at its start."""
        body: Any = {
            "metadata": {"name": DISPATCHERS},
            "subsets": [
                {
                    "addresses": [{"ip": address} for address in addresses],
                    "ports": [{"name": "http", "port": HTTP_PORT}, {"name": "grpc", "port": GRPC_PORT}],
                }
            ],
        }
        await self.delete_dispatcher_endpoints()
        await self._core.create_namespaced_endpoints(self._namespace, body)

    async def delete_dispatcher_endpoints(self) -> None:
        with suppress(ApiException):
            await self._core.delete_namespaced_endpoints(DISPATCHERS, self._namespace)

    async def create_pod(self, name: str, labels: dict[str, str], address: str) -> str:
        """A pod that runs and is not ready yet. Returns its uid."""
        body: Any = {
            "metadata": {"name": name, "labels": labels},
            "spec": {"containers": [{"name": "service", "image": "example/service"}]},
        }
        created: Any = await self._core.create_namespaced_pod(self._namespace, body)
        await self.mark_ready(name, False, address)
        return str(created.metadata.uid)

    async def mark_ready(self, name: str, ready: bool, address: str) -> None:
        """Say as a kubelet does whether the pod's container serves."""
        status: Any = {
            "phase": "Running",
            "podIP": address,
            "podIPs": [{"ip": address}],
            "conditions": [{"type": "Ready", "status": "True" if ready else "False"}],
        }
        await self._core.patch_namespaced_pod_status(
            name, self._namespace, {"status": status}, _content_type=_STRATEGIC
        )

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
