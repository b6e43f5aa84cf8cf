"""A small stand-in for Cornserve's gateway and resource manager, for faults that the real ones do not have on demand.

It keeps the API of `interop/`'s real gateway, and what that one does in the cluster: an instance and a pod for each
deployed unit task, created on the real API server, so that the fence refuses them as it does there.
"""

import asyncio
import contextlib
import json
import re
import secrets
from collections import Counter
from collections.abc import AsyncGenerator, Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web
from kubernetes.aio.client import ApiClient, ApiException, CoreV1Api, CustomObjectsApi

from .sources import PACKAGE

CORNSERVE = ("cornserve.ai", "v1")
Fault = Callable[[], Awaitable[web.StreamResponse | None]]


def app_source(*classes: str, package: str = PACKAGE) -> str:
    """An app that uses these task classes."""
    lines = [f"from {package}.{_kind(name)}.{name.lower()} import {name}" for name in classes]
    return "\n".join([*lines, "", "async def serve(request): ...", ""])


def _kind(class_name: str) -> str:
    return "composite" if class_name.startswith("Sketch") else "unit"


@dataclass
class StandInGateway:
    """`parts` says of which unit tasks a composite consists."""

    namespace: str
    api: ApiClient
    parts: dict[str, list[str]] = field(default_factory=lambda: {"SketchTask": ["EncoderTask"]})
    apps: dict[str, str] = field(default_factory=dict)
    """Id → state."""
    sources: dict[str, str] = field(default_factory=dict)
    tasks: dict[str, str] = field(default_factory=dict)
    """Task id, which is the instance's name → class."""
    calls: list[str] = field(default_factory=list)
    faults: dict[str, list[Fault]] = field(default_factory=dict)
    """Path without id → what happens instead, once each; None as answer goes on as usual."""
    url: str = ""
    _used: Counter[str] = field(default_factory=Counter)
    _pods: dict[str, str] = field(default_factory=dict)
    _runner: web.AppRunner | None = None
    _port: int = 0

    async def start(self) -> None:
        app = web.Application()
        app.router.add_get("/app/list", self._list_apps)
        app.router.add_get("/tasks/list", self._list_tasks)
        app.router.add_post("/app/register", self._register)
        app.router.add_post("/app/unregister/{app}", self._unregister)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.0)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", self._port, reuse_address=True).start()
        self._port = self._runner.addresses[0][1]
        self.url = f"http://127.0.0.1:{self._port}"

    async def stop(self) -> None:
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None

    def forget(self) -> None:
        """What a restart of the gateway does: apps and tasks are forgotten, their instances and pods stay."""
        self.apps.clear()
        self.sources.clear()
        self.tasks.clear()
        self._used.clear()

    async def remove_pods(self) -> None:
        for pod in self._pods.values():
            await self._delete_pod(pod)
        self._pods.clear()

    def fail(self, path: str, status: int = 500, text: str = "Errors while doing so", times: int = 1) -> None:
        """Let the next calls of a path fail, without an effect."""

        async def answer() -> web.StreamResponse:
            return web.Response(status=status, text=text)

        self.faults.setdefault(path, []).extend([answer] * times)

    def happens(self, path: str, what: Callable[[], Awaitable[object]]) -> None:
        """Let something happen before the next call of a path is carried out."""

        async def fault() -> None:
            await what()

        self.faults.setdefault(path, []).append(fault)

    async def register(self, source: str) -> str:
        """Register an app as a user does."""
        app_id = self._admit(source)
        await self._deploy(app_id)
        return app_id

    async def unregister(self, app_id: str) -> None:
        """Unregister an app as its owner does."""
        del self.apps[app_id]
        for class_name in self._units(self.sources.pop(app_id)):
            self._used[class_name] -= 1
            if self._used[class_name] == 0:
                await self._tear_down(class_name)

    def users_of(self, class_name: str) -> list[str]:
        """Sources of the registered apps that use a class."""
        return sorted(source for source in self.sources.values() if f"import {class_name}" in source)

    async def _list_apps(self, _: web.Request) -> web.StreamResponse:
        return await self._fault("/app/list") or web.json_response(self.apps)

    async def _list_tasks(self, _: web.Request) -> web.StreamResponse:
        listed = [[{"class": name}, task, "ready"] for task, name in self.tasks.items()]
        return await self._fault("/tasks/list") or web.json_response(listed)

    async def _unregister(self, request: web.Request) -> web.StreamResponse:
        app_id = request.match_info["app"]
        self.calls.append(f"unregister {app_id}")
        if (failed := await self._fault("/app/unregister")) is not None:
            return failed
        if app_id not in self.apps:
            return web.Response(status=404, text=f"App ID '{app_id}' does not exist")
        await self.unregister(app_id)
        if (failed := await self._fault("/app/unregister after")) is not None:
            return failed
        return web.Response()

    async def _register(self, request: web.Request) -> web.StreamResponse:
        source = (await request.json())["source_code"]
        self.calls.append("register")
        if (failed := await self._fault("/app/register")) is not None:
            return failed
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)

        async def say(**event: Any) -> None:
            # A client that is gone does not stop a registration.
            with contextlib.suppress(ConnectionError):
                await response.write(f"data: {json.dumps({'event': event})}\n\n".encode())

        if "serve" not in source:
            await say(type="error", message="App source code validation failed: Missing 'serve' function")
            return response
        app_id = self._admit(source)
        await self._fault("/app/register admitted")
        await say(type="initial", app_id=app_id, task_names=[])
        await self._fault("/app/register named")
        try:
            await self._deploy(app_id)
        except ApiException as error:
            await say(type="error", message=f"Failed to deploy tasks: {error.body}")
            return response
        await say(type="final", message="Successfully deployed")
        return response

    async def _fault(self, path: str) -> web.StreamResponse | None:
        arranged = self.faults.get(path)
        return await arranged.pop(0)() if arranged else None

    def _admit(self, source: str) -> str:
        app_id = f"app-{secrets.token_hex(16)}"
        self.apps[app_id], self.sources[app_id] = "not ready", source
        return app_id

    async def _deploy(self, app_id: str) -> None:
        try:
            for class_name in self._units(self.sources[app_id]):
                if self._used[class_name] == 0:
                    await self._create(class_name)
                self._used[class_name] += 1
        except ApiException:
            del self.apps[app_id], self.sources[app_id]
            raise
        self.apps[app_id] = "ready"

    def _units(self, source: str) -> list[str]:
        found = re.findall(r"import (\w+Task)\b", source)
        return [unit for name in found for unit in self.parts.get(name, [name])]

    async def _create(self, class_name: str) -> None:
        task = f"{class_name.lower()}-{secrets.token_hex(16)}"
        body = {
            "apiVersion": "/".join(CORNSERVE),
            "kind": "UnitTaskInstance",
            "metadata": {"name": task},
            "spec": {"definitionRef": class_name, "config": {}, "executionDescriptorName": "none"},
        }
        self.tasks[task] = class_name
        try:
            await self._custom.create_namespaced_custom_object(*CORNSERVE, self.namespace, "unittaskinstances", body)
        except ApiException:
            del self.tasks[task]
            raise
        self._pods[task] = await self._create_pod(class_name)

    async def _tear_down(self, class_name: str) -> None:
        task = next(name for name, of in self.tasks.items() if of == class_name)
        await self._delete_pod(self._pods.pop(task))
        await self._custom.delete_namespaced_custom_object(*CORNSERVE, self.namespace, "unittaskinstances", task)
        del self.tasks[task]

    async def _create_pod(self, class_name: str) -> str:
        manager = f"{class_name.lower()}-{secrets.token_hex(4)}"
        manifest = {
            "metadata": {"name": f"tm-{manager}", "labels": {"app": "task-manager", "task-manager-id": manager}},
            "spec": {"containers": [{"name": "task-manager", "image": "example/task-manager"}]},
        }
        created = await CoreV1Api(self.api).create_namespaced_pod(self.namespace, manifest)
        return created.metadata.name

    async def _delete_pod(self, pod: str) -> None:
        await CoreV1Api(self.api).delete_namespaced_pod(pod, self.namespace, grace_period_seconds=0)

    @property
    def _custom(self) -> CustomObjectsApi:
        return CustomObjectsApi(self.api)


@contextlib.asynccontextmanager
async def stand_in_gateway(namespace: str, api: ApiClient) -> AsyncGenerator[StandInGateway]:
    gateway = StandInGateway(namespace, api)
    await gateway.start()
    try:
        yield gateway
    finally:
        await asyncio.shield(gateway.stop())
