"""The ready replicas of services, followed in the API server: what a Kubernetes Service sends its traffic to."""

import asyncio
from collections import defaultdict
from collections.abc import Collection, Mapping
from typing import Any

from kubernetes.aio import watch
from kubernetes.aio.client import ApiClient, ApiException, CoreV1Api

PAUSE = 0.2
"""Seconds before a watch that ended is begun again."""


class ReadyReplicas:
    """Addresses of ready pods by service; current as long as `follow` runs."""

    def __init__(self, api: ApiClient, namespace: str, services: Collection[str]) -> None:
        self._core = CoreV1Api(api)
        self._namespace = namespace
        self._selector = f"app in ({','.join(sorted(services))})"
        self._ready: Mapping[str, dict[str, str]] = defaultdict(dict)
        self._turn = 0
        self.known = asyncio.Event()
        """Set when each service was seen to have a ready replica."""
        self._services = frozenset(services)

    def pick(self, service: str, but_not: str | None = None) -> str | None:
        """The address whose turn it is; None where the service has no (other) ready replica."""
        addresses = [address for address in self._ready[service].values() if address != but_not]
        if not addresses:
            return None
        self._turn += 1
        return addresses[self._turn % len(addresses)]

    async def follow(self) -> None:
        """List and watch the pods, until cancelled."""
        while True:
            try:
                await self._follow_once()
            except (TimeoutError, ApiException, OSError):
                await asyncio.sleep(PAUSE)

    async def _follow_once(self) -> None:
        listed: Any = await self._core.list_namespaced_pod(self._namespace, label_selector=self._selector)
        self._ready = defaultdict(dict)
        for pod in listed.items:
            self._take(pod, gone=False)
        changes = watch.Watch()
        async with changes.stream(
            self._core.list_namespaced_pod,
            self._namespace,
            label_selector=self._selector,
            resource_version=listed.metadata.resource_version,
        ) as events:
            event: Any
            async for event in events:
                self._take(event["object"], gone=event["type"] == "DELETED")

    def _take(self, pod: Any, *, gone: bool) -> None:
        conditions = (pod.status.conditions or []) if pod.status else []
        is_ready = any(each.type == "Ready" and each.status == "True" for each in conditions)
        replicas = self._ready[pod.metadata.labels["app"]]
        if is_ready and pod.status.pod_ip and not gone:
            replicas[pod.metadata.name] = pod.status.pod_ip
        else:
            replicas.pop(pod.metadata.name, None)
        if all(self._ready[service] for service in self._services):
            self.known.set()
