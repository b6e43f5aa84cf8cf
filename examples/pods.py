"""Pod objects for the example's processes: what a kubelet and a ReplicaSet write into a real cluster."""

from dataclasses import dataclass
from typing import Any

from kubernetes.aio.client import ApiClient, CoreV1Api

_STRATEGIC_MERGE = "application/strategic-merge-patch+json"


@dataclass(frozen=True)
class Pod:
    """One Pod object."""

    service: str
    name: str
    uid: str
    address: str


class Pods:
    """Writes the Pod objects of one namespace."""

    def __init__(self, api: ApiClient, namespace: str) -> None:
        self._core = CoreV1Api(api)
        self._namespace = namespace

    async def create(self, service: str, name: str, address: str) -> Pod:
        """A Pod with the label ``app: SERVICE`` and that address, not ready yet."""
        manifest: Any = {
            "metadata": {"name": name, "labels": {"app": service}},
            "spec": {"containers": [{"name": "service", "image": "examples/service"}]},
        }
        created: Any = await self._core.create_namespaced_pod(self._namespace, manifest)
        pod = Pod(service, name, created.metadata.uid, address)
        await self.set_ready(pod, False)
        return pod

    async def set_ready(self, pod: Pod, ready: bool) -> None:
        """What a kubelet does after a probe, or when a container has died."""
        status: dict[str, Any] = {
            "phase": "Running",
            "podIP": pod.address,
            "podIPs": [{"ip": pod.address}],
            "conditions": [{"type": "Ready", "status": str(ready)}],
        }
        await self._core.patch_namespaced_pod_status(
            pod.name, self._namespace, {"status": status}, _content_type=_STRATEGIC_MERGE
        )
