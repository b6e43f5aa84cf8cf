"""Replicas of the saga's tests: real agents behind real HTTP servers, each with a Pod object of its own."""

import asyncio
import contextlib
import itertools
import os
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import uvicorn
from kubernetes.aio.client import ApiClient, CoreV1Api
from starlette.types import ASGIApp

from taskroll.devstack import StackInfo
from taskroll_agent import Agent, AgentSettings, DefinitionNotFound, standalone_app

PORT = 18080
TOKEN = "agent-token-of-the-tests"

_addresses = (f"127.{64 + os.getpid() % 64}.{b}.{c}" for b, c in itertools.product(range(1, 255), range(1, 255)))
"""Of this process: another run of the tests on this machine begins elsewhere."""


class EmbeddedServer(uvicorn.Server):
    def capture_signals(self) -> contextlib.AbstractContextManager[None]:  # type: ignore[override]
        return contextlib.nullcontext()


@dataclass
class Replica:
    """One process's worth of a service: agent, HTTP server, Pod."""

    service: str
    pod: str
    pod_uid: str
    address: str
    agent: Agent
    server: EmbeddedServer
    serving: asyncio.Task[None]

    def version_of(self, class_name: str) -> int | None:
        """The VERSION of a class as a caller would get it; None where there is no such class."""
        with self.agent.registry.lease() as generation:
            try:
                return generation.get(class_name).VERSION
            except DefinitionNotFound:
                return None


@dataclass
class Replicas:
    """All replicas of a test."""

    stack: StackInfo
    namespace: str
    api: ApiClient
    settings: dict[str, Any]
    running: list[Replica] = field(default_factory=list[Replica])
    wrap: Callable[[ASGIApp], ASGIApp] = lambda app: app
    _number: itertools.count = field(default_factory=itertools.count)

    async def start(self, service: str, count: int = 1) -> list[Replica]:
        """Start so many replicas of a service."""
        started = await asyncio.gather(*(self._start(service) for _ in range(count)))
        self.running += started
        return started

    async def _start(self, service: str) -> Replica:
        pod, address, uid = await self.create_pod(service, f"{service}-{next(self._number)}")
        agent = Agent(AgentSettings.from_env({}, **self.settings, pod=pod, pod_uid=uid))
        await agent.start()
        server = EmbeddedServer(
            uvicorn.Config(self.wrap(standalone_app(agent)), host=address, port=PORT, log_config=None, lifespan="off")
        )
        serving = asyncio.create_task(server.serve())
        while not server.started:
            await asyncio.sleep(0.005)
        return Replica(service, pod, uid, address, agent, server, serving)

    async def create_pod(self, service: str, pod: str) -> tuple[str, str, str]:
        """Create a ready Pod object of the service; return its name, address and uid."""
        address = next(_addresses)
        core = CoreV1Api(self.api)
        manifest = {
            "metadata": {"name": pod, "labels": {"app": service}},
            "spec": {"containers": [{"name": "service", "image": "example/service"}]},
        }
        created = await core.create_namespaced_pod(self.namespace, manifest)
        ready = {
            "status": {
                "phase": "Running",
                "podIP": address,
                "podIPs": [{"ip": address}],
                "conditions": [{"type": "Ready", "status": "True"}],
            }
        }
        await core.patch_namespaced_pod_status(
            pod, self.namespace, ready, _content_type="application/strategic-merge-patch+json"
        )
        return pod, address, created.metadata.uid

    async def stop(self, replica: Replica, *, delete_pod: bool = True) -> None:
        """End a replica; with `delete_pod` False as a crash does: the Pod object still stands."""
        replica.server.should_exit = replica.server.force_exit = True
        await replica.serving
        await replica.agent.stop()
        if replica in self.running:
            self.running.remove(replica)
        if delete_pod:
            await CoreV1Api(self.api).delete_namespaced_pod(replica.pod, self.namespace, grace_period_seconds=0)

    async def restart(self, replica: Replica) -> Replica:
        """A new replica in the place of one that died: its Pod is replaced, as a ReplicaSet does."""
        await CoreV1Api(self.api).delete_namespaced_pod(replica.pod, self.namespace, grace_period_seconds=0)
        return (await self.start(replica.service))[0]

    async def stop_all(self) -> None:
        await asyncio.gather(*(self.stop(replica) for replica in list(self.running)))

    def versions(self, class_name: str) -> set[int | None]:
        """Which versions of a class the replicas serve."""
        return {replica.version_of(class_name) for replica in self.running}

    def contents(self) -> set[str]:
        """Content digests that the replicas attest."""
        return {replica.agent.attest(None, full=False).content_digest for replica in self.running}
