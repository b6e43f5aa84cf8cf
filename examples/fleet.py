"""The replicas of the example's services: a process and a Pod object each, kept running as Kubernetes would.

A replica that dies is no longer ready at once, and is started again in the same Pod; unless it is held down, as a
container in CrashLoopBackOff is.
"""

import asyncio
import contextlib
import os
import socket
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from .child_processes import ROOT, end_process, inherited_environment, python_module, start_process
from .pods import Pod, Pods
from .service import FAULT_VARIABLE

BASE_CLASSES = ROOT / "examples" / "taskbase"
"""Services have the tasks' base classes installed; here they find them on their path."""

CRASH_LOOP_PAUSE = 1.0
"""Seconds before the next start of a replica that ended before it served."""


class ReplicaDidNotStart(Exception):
    """A replica ended before it served."""


@dataclass(frozen=True)
class FleetSettings:
    """What all replicas have in common."""

    port: int
    folder: Path
    """For logs, one per replica, and for faults."""
    agent: Mapping[str, str]
    """The agent's environment: ``TASKROLL_AGENT_…``."""


@dataclass
class Replica:
    """One replica: its Pod, and whatever process runs in it now."""

    pod: Pod
    log: Path
    fault: Path
    process: asyncio.subprocess.Process | None = None
    starts: int = 0
    serving: asyncio.Event = field(default_factory=asyncio.Event)
    died: asyncio.Event = field(default_factory=asyncio.Event)
    may_start: asyncio.Event = field(default_factory=asyncio.Event)

    def die_on_activation(self) -> None:
        """Let it die by SIGKILL the moment it begins to serve another release, and stay down until `let_start`."""
        self.died.clear()
        self.may_start.clear()
        self.fault.touch()

    def let_start(self) -> None:
        """Take the fault away and let it start again."""
        self.fault.unlink(missing_ok=True)
        self.may_start.set()


class Fleet:
    """All replicas. Use it as an async context manager: on leaving, every process has ended."""

    def __init__(self, pods: Pods, settings: FleetSettings) -> None:
        self._pods = pods
        self._settings = settings
        self._addresses = free_addresses(settings.port)
        self._keepers: list[asyncio.Task[None]] = []
        self.replicas: dict[str, Replica] = {}

    async def start(self, services: Mapping[str, int]) -> None:
        """Start so many replicas of each service, side by side, and return when all of them serve.

        Raises:
            ReplicaDidNotStart: naming the one that ended first, and its log.
        """
        self._settings.folder.mkdir(parents=True, exist_ok=True)
        names = [(service, f"{service}-{number}") for service, count in services.items() for number in range(count)]
        created = await asyncio.gather(*(self._create(service, name) for service, name in names))
        self.replicas |= {replica.pod.name: replica for replica in created}
        self._keepers += [asyncio.create_task(self._keep(replica)) for replica in created]
        starting = [asyncio.create_task(self._first_start(replica)) for replica in created]
        try:
            await asyncio.gather(*starting)
        finally:
            for task in starting:
                task.cancel()

    async def stop(self) -> None:
        """End all processes, in order, and wait for that."""
        for keeper in self._keepers:
            keeper.cancel()
        # Each keeper ends its process on the way out.
        await asyncio.gather(*self._keepers, return_exceptions=True)

    async def __aenter__(self) -> "Fleet":
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    def counts(self) -> dict[str, int]:
        """How many replicas each service has."""
        services = [replica.pod.service for replica in self.replicas.values()]
        return {service: services.count(service) for service in dict.fromkeys(services)}

    async def _create(self, service: str, name: str) -> Replica:
        pod = await self._pods.create(service, name, next(self._addresses))
        replica = Replica(pod, self._settings.folder / f"{name}.log", self._settings.folder / f"{name}.fault")
        replica.let_start()
        return replica

    async def _first_start(self, replica: Replica) -> None:
        serving = asyncio.create_task(replica.serving.wait())
        died = asyncio.create_task(replica.died.wait())
        try:
            await asyncio.wait([serving, died], return_when=asyncio.FIRST_COMPLETED)
        finally:
            serving.cancel()
            died.cancel()
        if not replica.serving.is_set():
            raise ReplicaDidNotStart(f"{replica.pod.name} ended before it served; see {replica.log}")

    async def _keep(self, replica: Replica) -> None:
        """Start it whenever it does not run and is allowed to; until cancelled."""
        while True:
            await replica.may_start.wait()
            process = replica.process = await start_process(
                [
                    *python_module("examples.service"),
                    replica.pod.service,
                    replica.pod.address,
                    str(self._settings.port),
                ],
                replica.log,
                self._environment(replica),
            )
            replica.starts += 1
            try:
                assert process.stdout is not None
                if await process.stdout.readline():
                    await self._pods.set_ready(replica.pod, True)
                    replica.serving.set()
                await process.wait()
            finally:
                await end_process(process)
            replica.process = None
            has_served = replica.serving.is_set()
            replica.serving.clear()
            replica.died.set()
            await self._pods.set_ready(replica.pod, False)
            if not has_served:
                await asyncio.sleep(CRASH_LOOP_PAUSE)

    def _environment(self, replica: Replica) -> dict[str, str]:
        return {
            **inherited_environment(),
            **self._settings.agent,
            "PYTHONPATH": str(BASE_CLASSES),
            "POD_NAME": replica.pod.name,
            "POD_UID": replica.pod.uid,
            FAULT_VARIABLE: str(replica.fault),
        }


def free_addresses(port: int) -> Iterator[str]:
    """Loopback addresses on which nobody listens at that port; others for each process that asks."""
    block = os.getpid() % 60_000
    for number in range(1 << 16):
        network = (block + number // 250) % 60_000
        address = f"127.{16 + network // 250}.{network % 250}.{1 + number % 250}"
        with contextlib.suppress(OSError), socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind((address, port))
            yield address
