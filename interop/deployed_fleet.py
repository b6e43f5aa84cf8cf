"""Stock services whose Pod objects real controllers make of Deployments: scheduler and kubelet are played here."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

from taskroll.devstack import StackInfo

from .fleet import DISPATCHER, GATEWAY, RESOURCE_MANAGER, STAND_IN, Environment, Fleet
from .service import Service, ServiceFailed

BACKOFF = 0.5
"""Seconds before a service that ended is started again in its pod."""
HEARTBEAT = 5.0
"""Seconds between signs of life of the node, without which a controller calls it lost after 50."""
_POLL = 0.1

NUMBERS = {GATEWAY: range(20, 24), RESOURCE_MANAGER: range(2, 3), DISPATCHER: range(10, 18)}
"""The addresses that pods of a role get, the last part of each. Who calls them by a name tries one after the other."""


class DeployedFleet(Fleet):
    """A fleet that starts a service for each pod of a Deployment named like a role, and ends it with the pod.

    Services are named like their pods. `gateway` calls the gateway that became ready last; none before.
    """

    def __init__(
        self, stack: StackInfo, namespace: str, folder: Path, *, gpus: int = 8, environment: Environment | None = None
    ) -> None:
        """Prepare; nothing runs yet. Arguments are those of `Fleet`; the stack has a controller manager."""
        super().__init__(stack, namespace, folder, dispatchers=0, gpus=gpus, environment=environment)
        self.services = {STAND_IN: self[STAND_IN]}
        self._running: dict[str, asyncio.Task[None]] = {}
        self._ending: dict[str, tuple[Service, asyncio.Task[None]]] = {}
        self._looking = asyncio.Lock()
        self._writing = asyncio.Lock()

    async def _start_all(self) -> None:
        await self._connect()
        await self.start(STAND_IN)
        background = [asyncio.create_task(self._watch_pods()), asyncio.create_task(self._keep_node_alive())]
        self._exits.push_async_callback(self._cancel_all, background)

    async def _cancel_all(self, background: list[asyncio.Task[None]]) -> None:
        tasks = [*background, *self._running.values(), *(task for _, task in self._ending.values())]
        for task in tasks:
            task.cancel()
        results = await asyncio.gather(*tasks, return_exceptions=True)
        await asyncio.gather(*(service.kill() for service, _ in self._ending.values()))
        if failures := [one for one in results if isinstance(one, Exception)]:
            raise ExceptionGroup("pods were no longer looked after", failures)

    def of(self, role: str) -> list[Service]:
        """The services of a role whose pods are not being deleted."""
        return [service for service in self.services.values() if service.role == role]

    def pods(self, *roles: str) -> set[str]:
        """Names of their pods."""
        return {service.pod for role in roles for service in self.of(role)}

    async def look(self) -> None:
        """Start services of pods that are new, end those of pods that are being deleted."""
        async with self._looking:
            found = {pod.metadata.name: pod for pod in await self._objects.pods_of(*NUMBERS)}
            for name in self._running.keys() - {n for n, pod in found.items() if not pod.metadata.deletion_timestamp}:
                self._end(name)
            for name, pod in found.items():
                known = name in self._running or name in self._ending
                if not known and pod.metadata.deletion_timestamp is None:
                    await self._begin(pod)

    async def _watch_pods(self) -> None:
        while True:
            await self.look()
            await asyncio.sleep(_POLL)

    async def _keep_node_alive(self) -> None:
        while True:
            await self._objects.ensure_node(self._gpus)
            await asyncio.sleep(HEARTBEAT)

    async def _begin(self, pod: Any) -> None:
        name, role = pod.metadata.name, pod.metadata.labels["app"]
        taken = {service.address for service in (*self.services.values(), *(s for s, _ in self._ending.values()))}
        free = [number for number in NUMBERS[role] if f"{self._block}{number}" not in taken]
        # Where pods that are being deleted still have all addresses, this one is pending until then.
        if not free or not await self._objects.bind_pod(name):
            return
        service = self._service(name, role, free[0])
        service.pod, service.pod_uid = name, pod.metadata.uid
        self.services[name] = service
        self._running[name] = asyncio.create_task(self._keep_running(service))

    async def _keep_running(self, service: Service) -> None:
        while True:
            try:
                await self.start(service.name)
                if service.role == GATEWAY:
                    await self._use_gateway(service)
                await self._write_dispatcher_endpoints()
                await service.ended()
            except ServiceFailed:
                await service.kill()
            service.restarts += 1
            await self._objects.mark_ready(service.pod, False, service.address, service.restarts)
            await asyncio.sleep(BACKOFF)

    def _end(self, name: str) -> None:
        service, running = self.services.pop(name), self._running.pop(name)
        self._ending[name] = service, asyncio.create_task(self._finish(service, running))

    async def _finish(self, service: Service, running: asyncio.Task[None]) -> None:
        """What a kubelet does with a pod that is being deleted: SIGTERM, later SIGKILL, then the object goes."""
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        await self._write_dispatcher_endpoints()
        await service.stop()
        await self._objects.delete_pod(service.pod)
        del self._ending[service.name]

    async def _write_dispatcher_endpoints(self) -> None:
        async with self._writing:
            await super()._write_dispatcher_endpoints()

    def _names(self) -> dict[str, list[str]]:
        return {role: [f"{self._block}{number}" for number in NUMBERS[role]] for role in (DISPATCHER, RESOURCE_MANAGER)}
