"""The replicas of a benchmark, in processes of their own: many in each, or one."""

import asyncio
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from examples.child_processes import end_process, inherited_environment, python_module, start_process
from examples.fleet import free_addresses
from examples.pods import Pod, Pods

from .replica_host import PORT

SERVICE = "replica"
Reads = Literal["releases", "custom resources"]


class HostEnded(Exception):
    """A process that holds replicas ended by itself."""


@dataclass
class Host:
    """One process, and what it said last of each of its replicas."""

    process: asyncio.subprocess.Process
    log: Path
    waiting: dict[str, asyncio.Future[None]] = field(default_factory=dict[str, "asyncio.Future[None]"])
    reading: asyncio.Task[None] | None = None

    async def order(self, pod: str, order: dict[str, Any]) -> None:
        """Send an order and wait until the replica serves.

        Raises:
            HostEnded: where the process ends first.
        """
        assert self.process.stdin is not None
        self.waiting[pod] = served = asyncio.get_running_loop().create_future()
        self.process.stdin.write(json.dumps(order).encode() + b"\n")
        await self.process.stdin.drain()
        await served

    async def read(self) -> None:
        """Take in what it says, until it ends."""
        assert self.process.stdout is not None
        async for line in self.process.stdout:
            served = self.waiting.pop(json.loads(line)["serving"])
            if not served.done():
                served.set_result(None)
        for served in self.waiting.values():
            if not served.done():
                served.set_exception(HostEnded(f"see {self.log}"))


class HostedReplicas:
    """All replicas; use it as an async context manager.

    Args:
        pods: Writes the Pod objects.
        environment: The agents': ``TASKROLL_AGENT_…``.
        folder: For logs.
        class_name: Whose version replicas tell.
        per_process: How many replicas share a process. With one of its own, a restart is that of the process.
    """

    def __init__(
        self, pods: Pods, environment: Mapping[str, str], folder: Path, class_name: str, per_process: int
    ) -> None:
        self._pods = pods
        self._environment = inherited_environment() | dict(environment)
        self._folder = folder
        self._class_name = class_name
        self._per_process = per_process
        self._addresses = free_addresses(PORT)
        self._host_of: dict[str, Host] = {}
        self.replicas: list[Pod] = []

    async def start(self, count: int) -> None:
        """Start so many, side by side."""
        hosts = [await self._start_host() for _ in range(-(-count // self._per_process))]
        created = await asyncio.gather(*(self._create(number) for number in range(count)))
        for number, pod in enumerate(created):
            self._host_of[pod.name] = hosts[number // self._per_process]
        self.replicas += created
        await asyncio.gather(*(self._begin(pod, "releases") for pod in created))

    async def restart(self, pod: Pod, reads: Reads) -> None:
        """Restart one, and return when it serves again."""
        host = self._host_of[pod.name]
        if self._per_process == 1:
            await self._end(host)
            self._host_of[pod.name] = await self._start_host()
            await self._begin(pod, reads)
        else:
            await host.order(pod.name, {"restart": pod.name, "reads": reads})

    async def restart_all(self, reads: Reads) -> None:
        """Restart all of them, side by side."""
        await asyncio.gather(*(self.restart(pod, reads) for pod in self.replicas))

    async def stop(self) -> None:
        """End all processes."""
        await asyncio.gather(*(self._end(host) for host in unique(self._host_of.values())))

    async def __aenter__(self) -> "HostedReplicas":
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    async def _create(self, number: int) -> Pod:
        pod = await self._pods.create(SERVICE, f"{SERVICE}-{number:02d}", next(self._addresses))
        await self._pods.set_ready(pod, True)
        return pod

    async def _begin(self, pod: Pod, reads: Reads) -> None:
        start = {"pod": pod.name, "uid": pod.uid, "address": pod.address}
        await self._host_of[pod.name].order(pod.name, {"start": start, "reads": reads})

    async def _start_host(self) -> Host:
        log = self._folder / "replicas.log"
        command = [*python_module("benchmarks.replica_host"), self._class_name]
        process = await start_process(command, log, self._environment, takes_orders=True)
        host = Host(process, log)
        host.reading = asyncio.create_task(host.read())
        return host

    async def _end(self, host: Host) -> None:
        await end_process(host.process)
        if host.reading is not None:
            await host.reading


def unique(hosts: Iterable[Host]) -> list[Host]:
    return list({id(host): host for host in hosts}.values())
