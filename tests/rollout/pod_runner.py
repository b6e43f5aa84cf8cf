"""What a kubelet does for these tests: a process for each pod, and the pod's status from how the process fares.

The pods themselves are made and deleted by the real controllers. No pod is bound to a node: there is none, and the
API server then removes a deleted pod at once.
"""

import asyncio
import contextlib
import itertools
import os
import sys
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import httpx
from kubernetes.aio.client import ApiClient, CoreV1Api
from kubernetes.aio.client.exceptions import ApiException

from taskroll.devstack import StackInfo

PORT = 18090
BACKOFF = 0.5
"""Seconds before a process that ended is started again in its pod."""

_addresses = (f"127.200.{a}.{b}" for a, b in itertools.product(range(1, 255), range(1, 255)))


@dataclass
class RunningPod:
    """One pod and its process."""

    name: str
    app: str
    address: str
    restarts: int = 0
    versions: dict[str, int] = field(default_factory=dict[str, int])
    """What the process answered when it had started; empty before."""


@dataclass
class PodRunner:
    """Runs the pods of one namespace that have a label ``app`` and a container named ``stock``."""

    stack: StackInfo
    namespace: str
    api: ApiClient
    settings: dict[str, Any]
    """How the processes reach the API server: see `tests.saga.world.agent_settings`."""
    may_start: asyncio.Event = field(default_factory=asyncio.Event)
    """Cleared: new pods stay pending."""
    pods: dict[str, RunningPod] = field(default_factory=dict[str, RunningPod])
    """By uid; gone with the pod."""
    _looking: asyncio.Lock = field(default_factory=asyncio.Lock)
    _tasks: dict[str, asyncio.Task[None]] = field(default_factory=dict[str, asyncio.Task[None]])

    @asynccontextmanager
    async def running(self) -> AsyncGenerator["PodRunner"]:
        self.may_start.set()
        loop = asyncio.create_task(self._loop())
        try:
            yield self
        finally:
            loop.cancel()
            for task in self._tasks.values():
                task.cancel()
            await asyncio.gather(loop, *self._tasks.values(), return_exceptions=True)

    async def look(self) -> None:
        """Start what is new, end what is gone."""
        async with self._looking:
            listed = (await CoreV1Api(self.api).list_namespaced_pod(self.namespace)).items
            mine = {p.metadata.uid: p.metadata for p in listed if p.spec.containers[0].name == "stock"}
            for uid in self._tasks.keys() - mine.keys():
                self._tasks.pop(uid).cancel()
                self.pods.pop(uid)
            for uid in mine.keys() - self._tasks.keys():
                self.pods[uid] = RunningPod(mine[uid].name, mine[uid].labels["app"], next(_addresses))
                self._tasks[uid] = asyncio.create_task(self._run(self.pods[uid]))

    async def _loop(self) -> None:
        while True:
            await self.look()
            await asyncio.sleep(0.1)

    async def _run(self, pod: RunningPod) -> None:
        while True:
            await self.may_start.wait()
            process = await self._start(pod.address)
            try:
                ended = asyncio.create_task(process.wait())
                serving = asyncio.create_task(self._answer(pod.address))
                await asyncio.wait([ended, serving], return_when=asyncio.FIRST_COMPLETED)
                if serving.done() and not ended.done():
                    pod.versions = serving.result()
                    await self._report(pod, ready=True)
                    await ended
                serving.cancel()
            finally:
                with contextlib.suppress(ProcessLookupError):
                    process.kill()
                await process.wait()
            pod.versions = {}
            pod.restarts += 1
            await self._report(pod, ready=False)
            await asyncio.sleep(BACKOFF)

    async def _start(self, address: str) -> asyncio.subprocess.Process:
        environment = {
            **os.environ,
            "KUBE_URL": self.settings["kube_url"],
            "KUBE_CA": str(self.settings["kube_ca_file"]),
            "KUBE_TOKEN": self.settings["kube_token"],
            "NAMESPACE": self.namespace,
            "ADDRESS": address,
            "PORT": str(PORT),
        }
        return await asyncio.create_subprocess_exec(
            sys.executable, "-m", "tests.rollout.stock_service", env=environment, stderr=asyncio.subprocess.DEVNULL
        )

    async def _answer(self, address: str) -> dict[str, int]:
        async with httpx.AsyncClient() as client:
            while True:
                with contextlib.suppress(httpx.HTTPError):
                    return (await client.get(f"http://{address}:{PORT}/")).json()
                await asyncio.sleep(0.05)

    async def _report(self, pod: RunningPod, *, ready: bool) -> None:
        now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        condition = "True" if ready else "False"
        state = {"running": {"startedAt": now}} if ready else {"waiting": {"reason": "CrashLoopBackOff"}}
        status = {
            "phase": "Running",
            "podIP": pod.address,
            "podIPs": [{"ip": pod.address}],
            "conditions": [
                {"type": kind, "status": condition, "lastTransitionTime": now} for kind in ("Ready", "ContainersReady")
            ],
            "containerStatuses": [
                {
                    "name": "stock",
                    "image": "none",
                    "imageID": "none",
                    "ready": ready,
                    "restartCount": pod.restarts,
                    "state": state,
                }
            ],
        }
        with contextlib.suppress(ApiException):  # the pod was deleted meanwhile
            await CoreV1Api(self.api).patch_namespaced_pod_status(
                pod.name, self.namespace, {"status": status}, _content_type="application/strategic-merge-patch+json"
            )
