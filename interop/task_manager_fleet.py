"""Stock services with a real task manager: the pod that the resource manager makes for a unit task is run."""

from __future__ import annotations

import asyncio
from typing import Any

from .fleet import TASK_MANAGER, Fleet

ADDRESS = 50
"""The last part of a task manager's address. All names of task managers lead there, so one runs at a time."""
_POLL = 0.1


class TaskManagerFleet(Fleet):
    """A fleet that runs the task manager of the one unit task that is deployed, under the name `task-manager`.

    Its executors stay a stand-in: their pods are made by the task manager, and their names lead to that.
    """

    async def _start_all(self) -> None:
        await super()._start_all()
        self._exits.push_async_callback(self._stop, asyncio.create_task(self._run_pods()))

    async def _stop(self, running: asyncio.Task[None]) -> None:
        running.cancel()
        (end,) = await asyncio.gather(running, return_exceptions=True)
        if isinstance(end, Exception):
            raise end

    async def _run_pods(self) -> None:
        while True:
            await self._look()
            await asyncio.sleep(_POLL)

    async def _look(self) -> None:
        """Do what a kubelet does: start the pod that is new, end what is being deleted."""
        for executor in await self._objects.pods_of("task-executor"):
            if executor.metadata.deletion_timestamp is not None:
                await self._objects.delete_pod(executor.metadata.name)
        pods: dict[str, Any] = {pod.metadata.name: pod for pod in await self._objects.pods_of(TASK_MANAGER)}
        service = self.services.get(TASK_MANAGER)
        if service is not None and service.pod not in pods:
            del self.services[TASK_MANAGER]
            await service.kill()
        elif service is None and pods:
            name, pod = pods.popitem()
            service = self._service(TASK_MANAGER, TASK_MANAGER, ADDRESS)
            service.pod, service.pod_uid = name, pod.metadata.uid
            self.services[TASK_MANAGER] = service
            await self.start(TASK_MANAGER)

    def _names(self) -> dict[str, list[str]]:
        return super()._names() | {TASK_MANAGER: [f"{self._block}{ADDRESS}"]}
