"""Deployments as somebody with kubectl makes and watches them."""

import asyncio
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from kubernetes.aio.client import ApiClient, AppsV1Api


@dataclass
class Deployments:
    """Those of one namespace."""

    api: ApiClient
    namespace: str

    @property
    def _apps(self) -> AppsV1Api:
        return AppsV1Api(self.api)

    async def create(self, name: str, replicas: int, container: str = "stock", **spec: Any) -> None:
        """Make a Deployment, whose pods have the label `app: <name>`, and wait until they serve."""
        body = {
            "metadata": {"name": name},
            "spec": {
                "replicas": replicas,
                "selector": {"matchLabels": {"app": name}},
                "template": {
                    "metadata": {"labels": {"app": name}},
                    "spec": {"containers": [{"name": container, "image": "none"}]},
                },
                **spec,
            },
        }
        await self._apps.create_namespaced_deployment(self.namespace, body)
        await self.rolled_out(name)

    async def delete(self, name: str) -> None:
        await self._apps.delete_namespaced_deployment(name, self.namespace)

    async def rolled_out(self, name: str) -> None:
        """Wait until all pods that are wanted are of the template as it is now, and serve."""
        while True:
            found = await self._apps.read_namespaced_deployment(name, self.namespace)
            status = found.status
            if status.observed_generation == found.metadata.generation and (
                status.updated_replicas == status.available_replicas == status.replicas == found.spec.replicas
            ):
                return
            await asyncio.sleep(0.05)

    async def scale(self, name: str, replicas: int) -> None:
        """Change how many pods are wanted, and wait until they serve."""
        change = {"spec": {"replicas": replicas}}
        await self._apps.patch_namespaced_deployment_scale(
            name, self.namespace, change, _content_type="application/merge-patch+json"
        )
        await self.rolled_out(name)

    async def restart(self, name: str) -> None:
        """What `kubectl rollout restart` does; wait until the new pods serve."""
        annotations = {"kubectl.kubernetes.io/restartedAt": datetime.now(UTC).isoformat()}
        change = {"spec": {"template": {"metadata": {"annotations": annotations}}}}
        await self._apps.patch_namespaced_deployment(
            name, self.namespace, change, _content_type="application/merge-patch+json"
        )
        await self.rolled_out(name)

    async def generation(self, name: str) -> int:
        """Counts the writes of its spec."""
        return (await self._apps.read_namespaced_deployment(name, self.namespace)).metadata.generation

    async def restarted_for(self, name: str) -> str | None:
        """The annotation of the pod template."""
        found = await self._apps.read_namespaced_deployment(name, self.namespace)
        return (found.spec.template.metadata.annotations or {}).get("taskroll.dev/restarted-for")


async def next_second() -> None:
    """Wait until the clock's second is another one.

    Kubernetes counts in whole seconds: of what happens within one, taskroll cannot tell what came first.
    """
    second = int(time.time())
    while int(time.time()) == second:
        await asyncio.sleep(0.05)
