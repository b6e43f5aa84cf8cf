"""A namespace of one test, and the command line that works in it."""

import asyncio
import base64
import json
import os
import secrets
import signal
import sys
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kubernetes.aio import config as kube_config
from kubernetes.aio.client import CustomObjectsApi

from starter.client import open_client
from starter.package_request import DeployOptions
from starter.settings import Settings
from starter.update_view import UpdateView
from taskroll.devstack import StackInfo

ROOT = Path(__file__).parents[2]


@dataclass(frozen=True)
class Ran:
    """How a command ended."""

    code: int
    out: str
    err: str

    def document(self) -> Any:
        """Stdout as the one JSON document that it has to be."""
        return json.loads(self.out)


@dataclass
class Place:
    """A namespace of one test, and the settings that reach it."""

    settings: Settings
    stack: StackInfo
    environ: dict[str, str]

    async def run(self, *arguments: str, **environ: str | None) -> Ran:
        """Run ``taskroll`` as a process of its own; a variable that is None is not set."""
        process = await self.start(*arguments, **environ)
        out, err = await process.communicate()
        assert process.returncode is not None
        return Ran(process.returncode, out.decode(), err.decode())

    async def start(self, *arguments: str, **environ: str | None) -> asyncio.subprocess.Process:
        """Start ``taskroll``; its output is piped."""
        return await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "starter.cli",
            *arguments,
            cwd=ROOT,
            env={name: value for name, value in {**self.environ, **environ}.items() if value is not None},
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )

    async def shell(self, command: str) -> Ran:
        """Run a line in a shell, as somebody who copied it from what ``taskroll`` printed: anywhere, in a container."""
        temporal = self.stack.components["temporal"].binary.parent
        path = os.pathsep.join([str(Path(sys.executable).parent), str(temporal), os.environ["PATH"]])
        process = await asyncio.create_subprocess_exec(
            "bash",
            "-c",
            command,
            cwd="/",
            env={name: value for name, value in {**self.environ, "PATH": path}.items() if name != "USER"},
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        out, err = await process.communicate()
        assert process.returncode is not None
        return Ran(process.returncode, out.decode(), err.decode())

    async def deployed(self, folder: Path, request_id: str = "") -> UpdateView:
        """Deploy a package by the client in this process, for what a test has before it begins; wait for the end."""
        options = DeployOptions(request_id or f"made-{secrets.token_hex(4)}", "somebody")
        async with open_client(self.settings) as client:
            found = await client.package_request(folder, options)
            await client.submit(found.request)
            return await client.wait(options.request_id)

    async def create_instance(self, class_name: str, name: str = "instance-1") -> None:
        """Register an instance of a task."""
        body = {
            "apiVersion": "cornserve.ai/v1",
            "kind": "UnitTaskInstance",
            "metadata": {"name": name},
            "spec": {"definitionRef": class_name, "config": {}, "executionDescriptorName": "none"},
        }
        async with self._custom() as custom:
            await custom.create_namespaced_custom_object(*self._at, "unittaskinstances", body)

    async def put_by_hand(self, folder: Path) -> None:
        """Create a package's definitions as somebody without taskroll does."""
        async with open_client(self.settings) as client, self._custom() as custom:
            found = await client.package_request(folder, DeployOptions("by-hand", "somebody"))
            for content in found.request.definitions:
                metadata = {"name": content.name}
                body = {
                    "apiVersion": "cornserve.ai/v1",
                    "kind": content.kind,
                    "metadata": metadata,
                    "spec": content.spec,
                }
                await custom.create_namespaced_custom_object(*self._at, "taskdefinitions", body)

    async def edit_by_hand(self, name: str, source: str, *, manager: str = "kubectl-edit") -> None:
        """Change a definition's source as ``kubectl edit`` does."""
        async with self._custom() as custom:
            await custom.patch_namespaced_custom_object(
                *self._at,
                "taskdefinitions",
                name,
                {"spec": {"sourceCode": base64.b64encode(source.encode()).decode()}},
                field_manager=manager,
                _content_type="application/merge-patch+json",
            )

    async def delete_definition(self, name: str) -> None:
        async with self._custom() as custom:
            await custom.delete_namespaced_custom_object(*self._at, "taskdefinitions", name)

    @property
    def _at(self) -> tuple[str, str, str]:
        return "cornserve.ai", "v1", self.settings.namespace

    @asynccontextmanager
    async def _custom(self) -> AsyncGenerator[CustomObjectsApi]:
        api = await kube_config.new_client_from_config(str(self.stack.kubeconfig), context="admin")
        try:
            yield CustomObjectsApi(api)
        finally:
            await api.close()


async def line_with(stream: asyncio.StreamReader | None, text: str) -> str:
    """Read lines until one holds the text, and return it."""
    assert stream is not None
    while line := (await stream.readline()).decode():
        if text in line:
            return line
    raise AssertionError(f"the output ended without {text!r}")


async def interrupt(process: asyncio.subprocess.Process) -> Ran:
    """What Ctrl-C does, and how the command ends."""
    process.send_signal(signal.SIGINT)
    out, err = await process.communicate()
    assert process.returncode is not None
    return Ran(process.returncode, out.decode(), err.decode())


def environ_of(settings: Settings) -> dict[str, str]:
    """The environment of the command: nothing of the machine's own Temporal or Kubernetes set-up."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("TEMPORAL", "TASKROLL", "KUBE"))}
    ours: dict[str, Any] = {
        "TASKROLL_NAMESPACE": settings.namespace,
        "TASKROLL_TASK_QUEUE": settings.task_queue,
        "TASKROLL_CONTEXT": settings.context,
        "KUBECONFIG": settings.kubeconfig,
        "TEMPORAL_ADDRESS": settings.temporal_address,
        "TASKROLL_BY": "tester",
        "HOME": "/nonexistent",
        "COLUMNS": "100",
    }
    return {**{k: v for k, v in kept.items() if k not in ("NO_COLOR", "FORCE_COLOR")}, **ours}
