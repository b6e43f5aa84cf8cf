"""What the prober saw, and how long two versions were served at once."""

import asyncio
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from examples.child_processes import end_process, inherited_environment, python_module, start_process
from examples.pods import Pod

Rows = Sequence[Sequence[float]]


class SeenVersions:
    """The prober's process."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process

    @classmethod
    async def start(cls, replicas: Sequence[Pod], folder: Path) -> "SeenVersions":
        """Start it on these replicas."""
        command = python_module("benchmarks.prober")
        process = await start_process(command, folder / "prober.log", inherited_environment(), takes_orders=True)
        seen = cls(process)
        await seen._order({"targets": {pod.name: pod.address for pod in replicas}})
        return seen

    async def only(self, version: int) -> None:
        """Wait until every replica answers with this version; forget what was before."""
        while True:
            rows = await self._order({"report": True})
            if all(replica and replica[-1][2] == version for replica in rows.values()):
                return
            # The prober's own interval is 10 ms.
            await asyncio.sleep(0.05)

    async def both(self, old: int, new: int) -> float:
        """Wait until every replica answers with `new`; milliseconds in which both versions were served."""
        rows: dict[str, list[list[float]]] = {}
        while True:
            for pod, more in (await self._order({"report": True})).items():
                rows.setdefault(pod, []).extend(more)
            if all(replica and replica[-1][2] == new for replica in rows.values()):
                return mixed_window(rows, old, new)
            await asyncio.sleep(0.05)

    async def stop(self) -> None:
        await end_process(self._process)

    async def _order(self, order: dict[str, Any]) -> dict[str, Any]:
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.stdin.write(json.dumps(order).encode() + b"\n")
        await self._process.stdin.drain()
        line = await self._process.stdout.readline()
        if not line:
            raise RuntimeError("the prober has ended; see prober.log")
        return json.loads(line)


def mixed_window(rows: Mapping[str, Rows], old: int, new: int) -> float:
    """Milliseconds from the first answer of version `new`, by any replica, to the last one of version `old`.

    0 where the last old answer came first: then the window is shorter than the prober can see.
    """
    all_rows = [row for replica in rows.values() for row in replica]
    first_new = min(first for first, _, version in all_rows if version == new)
    last_old = max((last for _, last, version in all_rows if version == old), default=first_new)
    return max(0.0, last_old - first_new) * 1000
