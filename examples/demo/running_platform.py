"""What the demo runs on: the stack, taskroll's worker, and the example's services, each a process of its own."""

import secrets
import shlex
import socket
import sys
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from kubernetes.aio import config as kube_config
from kubernetes.aio.client import ApiClient

from examples.child_processes import ROOT, end_process, inherited_environment
from examples.fleet import Fleet, FleetSettings
from examples.pods import Pods
from examples.worker_process import start_worker
from starter.client import TaskrollClient, open_client
from starter.settings import Settings
from taskroll.cluster.connection import Cluster
from taskroll.cluster.kubeconfig import ClusterSettings
from taskroll.cluster.manifests import DEV_FOLDERS, install
from taskroll.devstack import StackInfo
from taskroll.devstack.agent_environment import agent_environment
from taskroll.devstack.info import ADMIN, DEVELOPER

from .expectation import ExpectationNotMet
from .running_load import RunningLoad

NAMESPACE = "cornserve"
SERVICES = {"gateway": 2, "dispatcher": 3, "task-manager": 4}
SERVICES_FILE = ROOT / "examples" / "services.yaml"
PREFERRED_PORT = 8000


@dataclass
class Platform:
    """All of it, running."""

    stack: StackInfo
    folder: Path
    environment: dict[str, str]
    """Of the deploy tool: what a developer would export."""
    client: TaskrollClient
    """The deploy tool's own client, to see what an update does: commands go through the deploy tool itself."""
    api: ApiClient
    """The API server, with an administrator's rights: in the place of kubelet and platform."""
    fleet: Fleet
    port: int

    async def start_load(self, rate: float) -> RunningLoad:
        """Put a steady load on all services."""
        arguments = {
            "kubeconfig": str(self.stack.kubeconfig),
            "context": DEVELOPER,
            "namespace": NAMESPACE,
            "services": ",".join(SERVICES),
            "port": str(self.port),
            "rate": f"{rate:g}",
        }
        flags = [f"--{name}={value}" for name, value in arguments.items()]
        return await RunningLoad.start(flags, self.folder, inherited_environment())


@asynccontextmanager
async def running_platform(stack: StackInfo, folder: Path) -> AsyncGenerator[Platform]:
    """Install taskroll on the stack, start worker and services, and end both on leaving."""
    async with AsyncExitStack() as exits:
        environment = developer_environment(stack, folder)
        async with await Cluster.connect(_administrator(stack)) as cluster:
            await install(cluster, NAMESPACE, folders=DEV_FOLDERS)
            agent = await agent_environment(stack, folder, NAMESPACE, cluster)
        api = await kube_config.new_client_from_config(str(stack.kubeconfig), context=ADMIN)
        exits.push_async_callback(api.close)
        port = _free_port()
        token = secrets.token_urlsafe(24)
        agent["TASKROLL_AGENT_TOKEN"] = token
        fleet = await exits.enter_async_context(
            Fleet(Pods(api, NAMESPACE), FleetSettings(port=port, folder=folder / "replicas", agent=agent))
        )
        worker = await start_worker(stack, folder, _services_file(folder, port), token)
        exits.push_async_callback(end_process, worker.process)
        await fleet.start(SERVICES)
        await worker.polls()
        client = await exits.enter_async_context(open_client(_settings(stack)))
        yield Platform(stack, folder, environment, client, api, fleet, port)


def developer_environment(stack: StackInfo, folder: Path) -> dict[str, str]:
    """What the deploy tool needs, also written to ``env.sh`` for a shell beside the demo."""
    nothing = folder / "temporal.toml"
    # A profile of this user's own may ask for TLS or an API key; the stack has neither.
    nothing.touch()
    exports = {
        **stack.environment(),
        "TASKROLL_CONTEXT": DEVELOPER,
        "TASKROLL_NAMESPACE": NAMESPACE,
        "TEMPORAL_CONFIG_FILE": str(nothing),
    }
    path = Path(sys.executable).parent
    lines = [f"export {name}={shlex.quote(value)}" for name, value in exports.items()]
    (folder / "env.sh").write_text("\n".join([*lines, f'export PATH={shlex.quote(str(path))}:"$PATH"', ""]))
    return inherited_environment() | exports


def _administrator(stack: StackInfo) -> ClusterSettings:
    return ClusterSettings(kubeconfig=str(stack.kubeconfig), context=ADMIN)


def _settings(stack: StackInfo) -> Settings:
    return Settings(
        namespace=NAMESPACE,
        kubeconfig=str(stack.kubeconfig),
        context=DEVELOPER,
        temporal_address=stack.temporal_address,
    )


def _services_file(folder: Path, port: int) -> Path:
    """The example's own file; a copy with the port where another program has the usual one on this machine."""
    if port == PREFERRED_PORT:
        return SERVICES_FILE
    content: dict[str, Any] = yaml.safe_load(SERVICES_FILE.read_text())
    for service in content["services"]:
        service["port"] = port
    copy = folder / "services.yaml"
    copy.write_text(yaml.safe_dump(content, sort_keys=False))
    return copy


def _free_port() -> int:
    for wanted in (PREFERRED_PORT, 0):
        with socket.socket() as probe:
            # Connections of an earlier demo that linger are nobody who listens.
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                # Somebody who listens on all addresses listens on those of the replicas too.
                probe.bind(("", wanted))
            except OSError:
                continue
            return int(probe.getsockname()[1])
    raise ExpectationNotMet("no port is free on this machine")
