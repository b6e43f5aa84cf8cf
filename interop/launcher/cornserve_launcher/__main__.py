"""`python -m cornserve_launcher LAUNCH_FILE`: run one process of a fleet until it is ended."""

from __future__ import annotations

import asyncio
import importlib
import sys
from pathlib import Path

from . import loopback
from .constants import set_constants
from .launch import Launch
from .probe import serve_probe

ENTRY_POINTS = {
    "gateway": "cornserve.services.gateway.entrypoint",
    "resource-manager": "cornserve.services.resource_manager.entrypoint",
    "task-dispatcher": "cornserve.services.task_dispatcher.entrypoint",
    "task-manager": "cornserve.services.task_manager.entrypoint",
}


async def run(launch: Launch) -> None:
    """Serve as the stock entry point does when it is run as a module, with the probe on the same event loop."""
    if launch.role == "stand-in":
        from . import stand_in

        await stand_in.serve(launch)
        return
    entry_point = importlib.import_module(ENTRY_POINTS[launch.role])
    # Relative to the working folder: a socket's path has room for 107 characters.
    async with await serve_probe(Path("probe.sock")):
        await entry_point.serve()


def main() -> None:
    """Read the launch file named on the command line and run."""
    launch = Launch.read(Path(sys.argv[1]))
    loopback.install(launch)
    set_constants(launch)
    asyncio.run(run(launch))


if __name__ == "__main__":
    main()
