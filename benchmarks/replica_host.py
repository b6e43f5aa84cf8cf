"""A process that holds replicas, each with an agent of its own and an address of its own.

It reads orders from stdin, a line of JSON each, and says on stdout which replica serves::

    {"start": {"pod": "…", "uid": "…", "address": "127.…"}, "reads": "releases"}     → {"serving": "…"}
    {"restart": "POD", "reads": "custom resources"}                                  → {"serving": "…"}

A replica reads releases, as the agent does; or, for the way it is done without taskroll, the custom resources once,
when it starts. It ends when stdin does.
"""

import asyncio
import contextlib
import json
import sys
from dataclasses import dataclass, field
from typing import Any

import uvicorn

from taskroll_agent import Agent, AgentSettings, DefinitionNotFound, standalone_app

from .definitions_at_start import DefinitionsAtStart

PORT = 18_000
VERSION_PORT = 18_001
"""Where a replica tells its version: a line for each byte that it is sent. Cheap, so that it can be asked often."""
ASK = b"?"


class EmbeddedServer(uvicorn.Server):
    """One of several in this process: signals are not its business."""

    def capture_signals(self) -> contextlib.AbstractContextManager[None]:  # type: ignore[override]
        return contextlib.nullcontext()


class VersionTeller(asyncio.Protocol):
    """Answers each byte with the version that a call would get now."""

    def __init__(self, agent: Agent, class_name: str, open_connections: set[asyncio.Transport]) -> None:
        self._agent = agent
        self._class_name = class_name
        self._connections = open_connections

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._connections.add(transport)

    def connection_lost(self, exc: Exception | None) -> None:
        self._connections.discard(self._transport)

    def data_received(self, data: bytes) -> None:
        with self._agent.registry.lease() as generation:
            try:
                version = generation.get(self._class_name).VERSION
            except DefinitionNotFound:
                version = 0
        self._transport.write(b"%d\n" % version * len(data))


@dataclass
class Replica:
    """One replica of this process."""

    pod: str
    uid: str
    address: str
    class_name: str
    agent: Agent | None = None
    server: EmbeddedServer | None = None
    serving: asyncio.Task[None] | None = None
    teller: asyncio.Server | None = None
    connections: set[asyncio.Transport] = field(default_factory=set[asyncio.Transport])

    async def start(self, reads: str) -> None:
        """Load what it shall run, then serve."""
        settings = AgentSettings.from_env(pod=self.pod, pod_uid=self.uid)
        cluster = DefinitionsAtStart(settings) if reads == "custom resources" else None
        self.agent = Agent(settings, cluster=cluster)
        await self.agent.start()
        config = uvicorn.Config(
            standalone_app(self.agent), host=self.address, port=PORT, log_config=None, access_log=False, lifespan="off"
        )
        self.server = EmbeddedServer(config)
        self.serving = asyncio.create_task(self.server.serve())
        while not self.server.started:
            await asyncio.sleep(0.001)
        agent = self.agent
        self.teller = await asyncio.get_running_loop().create_server(
            lambda: VersionTeller(agent, self.class_name, self.connections), self.address, VERSION_PORT
        )

    async def stop(self) -> None:
        """As the end of its process would be: all connections break."""
        assert self.agent and self.server and self.serving and self.teller
        self.teller.close()
        for connection in list(self.connections):
            connection.abort()
        self.server.should_exit = self.server.force_exit = True
        await self.serving
        await self.agent.stop()
        self.agent.registry.close()


async def host(class_name: str) -> None:
    """Carry out orders until stdin ends."""
    reader = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    replicas: dict[str, Replica] = {}
    orders: set[asyncio.Task[None]] = set()

    async def carry_out(order: dict[str, Any]) -> None:
        if "start" in order:
            replica = Replica(class_name=class_name, **order["start"])
            replicas[replica.pod] = replica
        else:
            replica = replicas[order["restart"]]
            await replica.stop()
        await replica.start(order["reads"])
        print(json.dumps({"serving": replica.pod}), flush=True)

    async for line in reader:
        task = asyncio.create_task(carry_out(json.loads(line)))
        orders.add(task)
        task.add_done_callback(_end_with_its_error)
    for task in orders:
        task.cancel()


def _end_with_its_error(task: asyncio.Task[None]) -> None:
    if not task.cancelled() and (error := task.exception()):
        print(f"{type(error).__name__}: {error}", file=sys.stderr, flush=True)
        # The other side sees the end of this process, and where it was said why.
        sys.exit(1)


if __name__ == "__main__":
    asyncio.run(host(sys.argv[1]))
