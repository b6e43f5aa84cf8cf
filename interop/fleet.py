"""Cornserve's gateway, resource manager and task dispatchers as processes, on loopback addresses of their own."""

from __future__ import annotations

import asyncio
import base64
import secrets
from collections.abc import Callable, Iterable, Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from urllib.parse import urlsplit

import httpx
import yaml
from kubernetes.aio import config as kube_config

from taskroll.devstack import StackInfo

from .addresses import GRPC_PORT, HTTP_PORT, OUTSIDE, free_block
from .administrator import Administrator
from .gateway import Executor, Gateway
from .platform_objects import PlatformObjects
from .service import START_TIMEOUT, Service, ServiceFailed

GATEWAY, RESOURCE_MANAGER, DISPATCHER, STAND_IN = "gateway", "resource-manager", "task-dispatcher", "stand-in"
TASK_MANAGER = "task-manager"

_PORTS = {
    STAND_IN: (HTTP_PORT, GRPC_PORT),
    DISPATCHER: (HTTP_PORT, GRPC_PORT),
    RESOURCE_MANAGER: (GRPC_PORT,),
    GATEWAY: (HTTP_PORT,),
    TASK_MANAGER: (GRPC_PORT,),
}

Environment = Callable[[Service], Mapping[str, str]]


@dataclass(frozen=True)
class Loaded:
    """What a service's registries hold now."""

    versions: dict[str, int | None]
    """Class name → its `version`, of tasks and descriptors; None where the class has none."""
    fields: dict[str, list[str]]
    """Class name → fields, of unit tasks."""


class Fleet:
    """Stock services of Cornserve 0.1.0 in one namespace. An async context manager; used from the main thread.

    Several fleets can run side by side: each has a namespace and a block of loopback addresses of its own.

    Attributes:
        services: By name: `gateway`, `resource-manager`, `task-dispatcher-0`, `task-dispatcher-1`, `stand-in`.
        gateway: Calls to the gateway.
        administrator: Writes the platform's objects past the gateway.
        executor: The stand-in that executes all unit tasks.
        gateway_url: The gateway's base URL.
    """

    def __init__(
        self,
        stack: StackInfo,
        namespace: str,
        folder: Path,
        *,
        dispatchers: int = 2,
        gpus: int = 8,
        environment: Environment | None = None,
    ) -> None:
        """Prepare; nothing runs yet.

        Args:
            stack: With the CRDs installed (`taskroll.cluster.manifests.install`).
            namespace: Stands for Cornserve's `cornserve`; made if need be.
            folder: For logs, sockets and the services' own files.
            dispatchers: How many task dispatchers.
            gpus: Of the only node; a deployed unit task takes one.
            environment: Called before each start of a service, when its pod exists: more variables for it.
                `PYTHONPATH` among them comes after the launcher's own.
        """
        self._stack = stack
        self.namespace = namespace
        self._folder = folder.absolute()
        self._gpus = gpus
        self._environment = environment
        self._block = free_block()
        self._exits = AsyncExitStack()
        self.services = {
            service.name: service
            for service in (
                self._service(STAND_IN, STAND_IN, 100),
                *(self._service(f"{DISPATCHER}-{n}", DISPATCHER, 10 + n) for n in range(dispatchers)),
                self._service(RESOURCE_MANAGER, RESOURCE_MANAGER, 2),
                self._service(GATEWAY, GATEWAY, 1),
            )
        }

    def _service(self, name: str, role: str, number: int) -> Service:
        return Service(name, role, f"{self._block}{number}", _PORTS[role], self._folder / name)

    def __getitem__(self, name: str) -> Service:
        return self.services[name]

    @property
    def stock(self) -> list[Service]:
        """Cornserve's own services: all but the stand-in."""
        return [service for service in self.services.values() if service.role != STAND_IN]

    async def __aenter__(self) -> Self:
        try:
            await self._start_all()
        except BaseException:
            await self._exits.aclose()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._exits.aclose()

    async def _start_all(self) -> None:
        await self._connect()
        await self._use_gateway(self[GATEWAY])
        await self._write_dispatcher_endpoints()
        # The resource manager waits for the sidecars, and nothing else for anything.
        await asyncio.gather(*(self.start(name) for name in self.services))

    async def _connect(self) -> None:
        """All that the services need around them; arrange that it is taken away again."""
        self._folder.mkdir(parents=True, exist_ok=True)
        self._token, self._authority = self._credentials()
        api = await kube_config.new_client_from_config(  # pyright: ignore[reportUnknownMemberType]
            str(self._stack.kubeconfig), context="admin"
        )
        self._exits.push_async_callback(api.close)
        self._objects = PlatformObjects(api, self.namespace)
        self.administrator = Administrator(api, self.namespace)
        self.executor = Executor(await self._client(f"http://{self[STAND_IN].address}:{HTTP_PORT}"))
        await self._objects.ensure_namespace()
        await self._objects.ensure_node(self._gpus)
        self._exits.push_async_callback(self._remove_objects)
        self._exits.push_async_callback(self.kill_all)

    async def _use_gateway(self, service: Service) -> None:
        self.gateway_url = f"http://{service.address}:{HTTP_PORT}"
        self.gateway = Gateway(await self._client(self.gateway_url))

    async def _write_dispatcher_endpoints(self) -> None:
        outside = [self._outside(service) for service in self.stock if service.role == DISPATCHER]
        await self._objects.write_dispatcher_endpoints(outside)

    async def _client(self, url: str) -> httpx.AsyncClient:
        limits = httpx.Limits(max_connections=None)
        client = httpx.AsyncClient(base_url=url, timeout=60.0, limits=limits, trust_env=False)
        return await self._exits.enter_async_context(client)

    def _outside(self, service: Service) -> str:
        return OUTSIDE + service.address.removeprefix(self._block)

    async def start(self, name: str, *, within: float = START_TIMEOUT) -> Service:
        """Start a service that does not run, and wait until it listens; its pod is ready then.

        Raises ServiceFailed, with the end of its log.
        """
        service = self[name]
        if service.role != STAND_IN and not service.pod:
            service.pod = f"{name}-{secrets.token_hex(3)}"
            labels = {"app": service.role}
            service.pod_uid = await self._objects.create_pod(service.pod, labels, service.address)
        if service.role == RESOURCE_MANAGER:
            await self._objects.delete_sidecars()
        more = self._environment(service) if self._environment else None
        await service.start(self._launch(service), more or {}, within)
        if service.pod:
            await self._objects.mark_ready(service.pod, True, service.address, service.restarts)
        return service

    async def kill(self, name: str) -> None:
        """End a service by SIGKILL; its pod stays and is not ready, as when a container has crashed."""
        await self[name].kill()
        await self._not_ready(self[name])

    async def stop(self, name: str) -> None:
        """End a service in order, by SIGTERM; its pod stays and is not ready."""
        await self[name].stop()
        await self._not_ready(self[name])

    async def restart(self, name: str, *, new_pod: bool = False, within: float = START_TIMEOUT) -> Service:
        """Kill a service and start it again: in the same pod as a kubelet does, or in a new one as a ReplicaSet."""
        await self.kill(name)
        if new_pod:
            await self.delete_pod(name)
        return await self.start(name, within=within)

    async def delete_pod(self, name: str) -> None:
        """Take away the pod object of a service that does not run; the next start makes another."""
        service = self[name]
        await self._objects.delete_pod(service.pod)
        service.pod = service.pod_uid = ""

    async def ready_pods(self) -> dict[str, bool]:
        """Service → whether its pod is Ready, as the API server has it."""
        return {service.name: await self._objects.is_ready(service.pod) for service in self.stock if service.pod}

    async def kill_all(self) -> None:
        """End all processes at once."""
        await asyncio.gather(*(service.kill() for service in self.services.values()))

    async def _remove_objects(self) -> None:
        """Leave the namespace to a later fleet: that one has other addresses."""
        pods = [service.pod for service in self.stock if service.pod]
        await asyncio.gather(*map(self._objects.delete_pod, pods), self._objects.delete_sidecars())
        await self._objects.delete_dispatcher_endpoints()

    async def _not_ready(self, service: Service) -> None:
        if service.pod:
            await self._objects.mark_ready(service.pod, False, service.address)

    async def loaded(self, name: str) -> Loaded:
        """What a service's registries hold now."""
        return Loaded(**await self[name].run(_LOADED))

    async def until_loaded(self, classes: Iterable[str], version: int, *, within: float = 20.0) -> None:
        """Wait until every stock service has these classes in this version.

        Raises ServiceFailed, saying what each has.
        """
        wanted = dict.fromkeys(classes, version)
        await self.until(lambda found: wanted.items() <= found.versions.items(), f"{wanted}", within=within)

    async def until(self, holds: Callable[[Loaded], bool], what: str, *, within: float = 20.0) -> None:
        """Wait until something holds of what every stock service has loaded."""
        found: dict[str, Loaded] = {}
        try:
            async with asyncio.timeout(within):
                while not found or not all(map(holds, found.values())):
                    found = {service.name: await self.loaded(service.name) for service in self.stock}
                    await asyncio.sleep(0.02)
        except TimeoutError:
            raise ServiceFailed(f"not everywhere {what} after {within:g} s: {found}") from None

    def _launch(self, service: Service) -> dict[str, Any]:
        kube = urlsplit(self._stack.kube_url)
        return {
            "role": service.role,
            "address": service.address,
            "namespace": self.namespace,
            "folder": str(service.folder),
            "kube_host": kube.hostname,
            "kube_port": kube.port,
            "token_file": str(self._token),
            "authority_file": str(self._authority),
            "names": self._names(),
            "stand_in": self[STAND_IN].address,
            "address_map": (OUTSIDE, self._block),
            "gpus": self._gpus,
        }

    def _names(self) -> dict[str, list[str]]:
        """Addresses behind the names of Kubernetes Services."""
        return {
            role: [service.address for service in self.stock if service.role == role]
            for role in (DISPATCHER, RESOURCE_MANAGER)
        }

    def _credentials(self) -> tuple[Path, Path]:
        kubeconfig: dict[str, Any] = yaml.safe_load(self._stack.kubeconfig.read_text())
        authority = self._folder / "ca.crt"
        authority.write_bytes(base64.b64decode(kubeconfig["clusters"][0]["cluster"]["certificate-authority-data"]))
        token = self._folder / "token"
        token.touch(mode=0o600)
        token.write_text(next(user["user"]["token"] for user in kubeconfig["users"] if user["name"] == "admin"))
        return token, authority


_LOADED = """
units = {name: found[0] for name, found in TASK_CLASS_REGISTRY._unit_tasks.items()}
descriptors = {name: cls for known in DESCRIPTOR_REGISTRY.registry.values() for name, cls in known.items()}
classes = {**units, **TASK_CLASS_REGISTRY._composite_tasks, **descriptors}
return {
    "versions": {name: getattr(cls, "version", None) for name, cls in classes.items()},
    "fields": {name: sorted(cls.model_fields) for name, cls in units.items()},
}
"""
