"""Fixtures of the starter's tests: the real stack with a real worker, a namespace per test, the real command line."""

import asyncio
import os
import secrets
from collections.abc import AsyncGenerator, Callable
from pathlib import Path

import pytest
import yaml

from starter.client import TaskrollClient, open_client
from starter.settings import Settings
from taskroll.cluster.connection import Cluster
from taskroll.cluster.kubeconfig import ClusterSettings
from taskroll.cluster.manifests import DEV_FOLDERS, MANAGER, install
from taskroll.cluster.objects import apply_object, create_object, delete_object, read_object
from taskroll.cluster.resources import ADMISSION_BINDING, CONFIG_MAP
from taskroll.devstack import StackInfo
from taskroll.models.errors import RefusedByCluster
from taskroll.services.configuration_file import parse_services
from worker.settings import WorkerSettings
from worker.wiring import connect, create_worker

from .place import Place, environ_of

TOKEN_VARIABLE = "TASKROLL_STARTER_TESTS_TOKEN"
# No service has to have a replica: what replicas do is for the tests of the saga.
SERVICES = {
    "services": [
        {
            "name": "gateway",
            "discovery": {"type": "pods", "labels": {"app": "gateway"}},
            "strategy": "agent",
            "port": 18080,
            "token": {"env": TOKEN_VARIABLE},
            "min_replicas": 0,
        }
    ]
}


@pytest.fixture(scope="session")
async def installed(stack: StackInfo) -> StackInfo:
    """The stack with taskroll's and Cornserve's CRDs."""
    async with await _admin(stack) as cluster:
        await install(cluster, "taskroll-starter-tests", folders=DEV_FOLDERS)
    return stack


@pytest.fixture(scope="session")
async def working_queue(installed: StackInfo) -> AsyncGenerator[str]:
    """A task queue that a real worker polls, for all namespaces."""
    queue = f"starter-{secrets.token_hex(4)}"
    os.environ[TOKEN_VARIABLE] = "agent-token-of-the-starter-tests"
    settings = WorkerSettings(
        task_queue=queue,
        temporal_address=installed.temporal_address,
        kubeconfig=installed.kubeconfig,
        context="taskroll",
        graceful_shutdown_timeout=1,
    )
    services = parse_services(yaml.safe_dump(SERVICES), "services of the starter's tests")
    async with connect(settings, services) as connections, create_worker(connections, settings):
        yield queue


@pytest.fixture
async def idle_place(installed: StackInfo) -> Place:
    """A namespace whose task queue nobody polls."""
    return await _place(installed, f"idle-{secrets.token_hex(4)}")


@pytest.fixture
async def place(installed: StackInfo, working_queue: str) -> Place:
    """A namespace with a worker."""
    return await _place(installed, working_queue)


@pytest.fixture
async def client(place: Place) -> AsyncGenerator[TaskrollClient]:
    """A client in this process, of the same namespace as the command line."""
    async with open_client(place.settings) as opened:
        yield opened


@pytest.fixture
async def idle_client(idle_place: Place) -> AsyncGenerator[TaskrollClient]:
    """A client of a namespace whose task queue nobody polls."""
    async with open_client(idle_place.settings) as opened:
        yield opened


@pytest.fixture
async def without_a_policy(installed: StackInfo) -> AsyncGenerator[str]:
    """A cluster where one admission policy is not bound; the name of it.

    One that has no parameter: an API server that loses its last binding with one is of no more use (kubernetes issue
    130887).
    """
    name = "taskroll-state"
    async with await _admin(installed) as cluster:
        binding = await read_object(cluster, ADMISSION_BINDING, None, name)
        await delete_object(
            cluster, ADMISSION_BINDING, None, name, uid=binding.uid, resource_version=binding.resource_version
        )
        yield name
        await _install_policies(cluster)


@pytest.fixture
async def unheeded_policy(installed: StackInfo) -> AsyncGenerator[str]:
    """A cluster where one admission policy is bound, but to no namespace that there is; the name of it."""
    name = "taskroll-state"
    nowhere = {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "nowhere"}}}
    body = {
        "apiVersion": ADMISSION_BINDING.api_version,
        "kind": ADMISSION_BINDING.kind,
        "metadata": {"name": name},
        "spec": {"policyName": name, "validationActions": ["Deny"], "matchResources": nowhere},
    }
    async with await _admin(installed) as cluster:
        await apply_object(cluster, ADMISSION_BINDING, None, body, manager=MANAGER)
        await _until_state_is_kept(cluster, False)
        yield name
        await _install_policies(cluster)


async def _install_policies(cluster: Cluster) -> None:
    await install(cluster, "taskroll-starter-tests", folders=("admission",))
    await _until_state_is_kept(cluster, True)


async def _until_state_is_kept(cluster: Cluster, wanted: bool) -> None:
    """Wait until the API server goes by the bindings as they are: within a second or so."""
    probe = {"metadata": {"name": "taskroll-fence"}, "data": {}}
    async with asyncio.timeout(30):
        while True:
            try:
                await create_object(cluster, CONFIG_MAP, "taskroll-starter-tests", probe, manager="tests", dry_run=True)
                is_kept = False
            except RefusedByCluster:
                is_kept = True
            if is_kept is wanted:
                return


@pytest.fixture
def package(tmp_path: Path) -> Callable[..., Path]:
    """Writes a task package and returns its folder: ``package(1)``, ``package(2, tasks=("Echo", "Shout"))``."""

    def write(version: int | str, tasks: tuple[str, ...] = ("Echo",)) -> Path:
        folder = tmp_path / "probe_tasks"
        (tmp_path / "base").mkdir(exist_ok=True)
        (tmp_path / "base" / "probe_base.py").write_text(
            "class Unit: ...\nclass Composite: ...\nclass Describes: ...\n"
        )
        (tmp_path / "pyproject.toml").write_text(
            '[tool.taskroll]\nsearch_paths = ["base"]\n[tool.taskroll.bases]\n'
            'unit_task = ["probe_base.Unit"]\ncomposite_task = ["probe_base.Composite"]\n'
            'descriptor = ["probe_base.Describes"]\n'
        )
        folder.mkdir(exist_ok=True)
        for old in folder.glob("*.py"):
            old.unlink()
        (folder / "__init__.py").touch()
        for name in tasks:
            source = f"from probe_base import Unit\n\n\nclass {name}(Unit):\n    VERSION = {version!r}\n"
            (folder / f"{name.lower()}.py").write_text(source)
        return folder

    return write


async def _admin(stack: StackInfo) -> Cluster:
    return await Cluster.connect(ClusterSettings(kubeconfig=str(stack.kubeconfig), context="admin"))


async def _place(stack: StackInfo, queue: str) -> Place:
    namespace = f"starter-{secrets.token_hex(4)}"
    async with await _admin(stack) as cluster:
        await install(cluster, namespace, folders=("rbac", "rbac/dev"))
    settings = Settings(
        namespace=namespace,
        kubeconfig=str(stack.kubeconfig),
        context="admin",
        temporal_address=stack.temporal_address,
        task_queue=queue,
    )
    return Place(settings, stack, environ_of(settings))
