"""A process that asks all replicas for their version, over and over: ``python -m benchmarks.prober``.

It reads orders from stdin, a line of JSON each, and answers each with a line::

    {"targets": {"POD": "127.…"}}   start asking        → {}
    {"report": true}                what was answered   → {"POD": [[first, last, version], …]}, and forget it

Times are seconds since the epoch, on this process's clock: when the first and the last answer of a row came.
"""

import asyncio
import json
import sys
import time

from .replica_host import ASK, VERSION_PORT

INTERVAL = 0.01
"""Seconds between two questions to the same replica."""
RECONNECT_PAUSE = 0.005

Row = list[float]


class Prober:
    """Asks each replica on a connection of its own."""

    def __init__(self) -> None:
        self._rows: dict[str, list[Row]] = {}
        self._asking: list[asyncio.Task[None]] = []

    def start(self, targets: dict[str, str]) -> None:
        self._rows = {pod: [] for pod in targets}
        self._asking = [asyncio.create_task(self._ask(pod, address)) for pod, address in targets.items()]

    def report(self) -> dict[str, list[Row]]:
        rows, self._rows = self._rows, {pod: [] for pod in self._rows}
        return rows

    async def _ask(self, pod: str, address: str) -> None:
        clock = asyncio.get_running_loop().time
        while True:
            try:
                reader, writer = await asyncio.open_connection(address, VERSION_PORT)
            except OSError:
                await asyncio.sleep(RECONNECT_PAUSE)
                continue
            try:
                due = clock()
                while True:
                    writer.write(ASK)
                    if not (line := await reader.readline()):
                        break
                    self._take(pod, int(line))
                    due = max(due + INTERVAL, clock())
                    await asyncio.sleep(due - clock())
            except OSError:
                pass
            finally:
                writer.close()

    def _take(self, pod: str, version: int) -> None:
        now, rows = time.time(), self._rows[pod]
        if rows and rows[-1][2] == version:
            rows[-1][1] = now
        else:
            rows.append([now, now, version])


async def probe() -> None:
    """Carry out orders until stdin ends."""
    reader = asyncio.StreamReader(limit=1 << 20)
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    prober = Prober()
    async for line in reader:
        order = json.loads(line)
        if "targets" in order:
            prober.start(order["targets"])
        print(json.dumps(prober.report() if "report" in order else {}), flush=True)


if __name__ == "__main__":
    asyncio.run(probe())
