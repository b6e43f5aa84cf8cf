"""taskroll's worker as a process, with its own rights in the cluster and no others."""

import asyncio
import contextlib
import socket
import sys
from dataclasses import dataclass
from pathlib import Path

import httpx

from taskroll.devstack import StackInfo
from taskroll.devstack.info import TASKROLL

from .child_processes import inherited_environment, start_process

TOKEN_VARIABLE = "TASKROLL_AGENT_TOKEN"
"""Names the agents' token, in the services file."""


class WorkerEnded(Exception):
    """The worker ended by itself."""


@dataclass(frozen=True)
class WorkerProcess:
    """A worker that was started."""

    process: asyncio.subprocess.Process
    listen: str
    log: Path

    async def polls(self) -> None:
        """Wait until it says that it is ready.

        Raises:
            WorkerEnded: where it ended before.
        """
        async with httpx.AsyncClient(trust_env=False) as client:
            while self.process.returncode is None:
                with contextlib.suppress(httpx.TransportError):
                    if (await client.get(f"http://{self.listen}/readyz")).is_success:
                        return
                await asyncio.sleep(0.05)
        raise WorkerEnded(f"the worker ended with exit code {self.process.returncode}; see {self.log}")


async def start_worker(
    stack: StackInfo, folder: Path, services: Path, token: str, *, reconciles: bool = True
) -> WorkerProcess:
    """Start ``taskroll-worker``; the caller ends it.

    Args:
        stack: With `deploy/rbac` installed for its users.
        folder: For its log.
        services: The services file.
        token: That it shows to the agents.
        reconciles: Whether it looks after the namespace ``cornserve``.
    """
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        listen = "{}:{}".format(*probe.getsockname())
    flags = {
        "temporal-address": stack.temporal_address,
        "temporal-namespace": stack.temporal_namespace,
        "kubeconfig": str(stack.kubeconfig),
        "context": TASKROLL,
        "services": str(services),
        "listen": listen,
        "log-format": "console",
        "reconcile-interval": "60" if reconciles else "0",
    }
    no_profile = folder / "temporal.toml"
    # A profile of this user's own may ask for TLS or an API key; the stack has neither.
    no_profile.touch()
    log = folder / "worker.log"
    process = await start_process(
        [Path(sys.executable).with_name("taskroll-worker"), *(f"--{name}={value}" for name, value in flags.items())],
        log,
        inherited_environment() | {TOKEN_VARIABLE: token, "TEMPORAL_CONFIG_FILE": str(no_profile)},
    )
    return WorkerProcess(process, listen, log)
