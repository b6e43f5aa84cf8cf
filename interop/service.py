"""One service of a fleet: a process, its log, and the socket through which a test looks into it."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from taskroll.devstack.process import dies_with_parent

from .addresses import is_free
from .environment import LAUNCHER, cornserve_python

START_TIMEOUT = 60.0
STOP_GRACE = 8.0
_POLL = 0.02
_LINE_LIMIT = 4 * 1024 * 1024
_INHERITED = ("PATH", "HOME", "TMPDIR", "LANG", "LC_ALL", "TZ")


class ServiceFailed(RuntimeError):
    """A service did not start, ended by itself, or refused what a test asked of it."""


@dataclass
class Service:
    """One process. Started and stopped by its `Fleet`, in the main thread: the kernel ends it with that one.

    Attributes:
        name: In the fleet; also the `app` label's value with a number for replicas.
        role: What the launcher starts.
        address: The loopback address that it listens on.
        ports: Where it listens once it is ready.
        folder: Its own.
        pod: Name of the Pod object that stands for it.
        pod_uid: Of that object.
        restarts: How often it was started again in that pod, where its fleet counts it.
    """

    name: str
    role: str
    address: str
    ports: tuple[int, ...]
    folder: Path
    pod: str = ""
    pod_uid: str = ""
    restarts: int = 0
    _process: asyncio.subprocess.Process | None = field(default=None, repr=False)

    @property
    def log(self) -> Path:
        """Standard output and error, appended by each start."""
        return self.folder / "log"

    @property
    def pid(self) -> int:
        """The process id, 0 while none runs."""
        return self._process.pid if self._process and self._process.returncode is None else 0

    def log_text(self) -> str:
        """All that it has written."""
        return self.log.read_text(errors="replace") if self.log.exists() else ""

    async def until_logged(self, text: str, times: int = 1, within: float = 20.0) -> None:
        """Wait until its log holds this text so many times. Raises ServiceFailed."""
        try:
            async with asyncio.timeout(within):
                while self.log_text().count(text) < times:
                    await asyncio.sleep(_POLL)
        except TimeoutError:
            raise ServiceFailed(
                f"{self.name} has not logged {text!r} {times} times after {within:g} s. "
                f"The end of {self.log}:\n{self.log_tail()}"
            ) from None

    async def start(self, launch: Mapping[str, Any], environment: Mapping[str, str], within: float) -> None:
        """Start the process and wait until it listens. Raises ServiceFailed."""
        if self.pid:
            raise ServiceFailed(f"{self.name} runs already, as process {self.pid}")
        for port in self.ports:
            # Asked before: gRPC would share the port without a word, and somebody else's answer would look like ours.
            if not is_free(self.address, port):
                raise ServiceFailed(f"{self.name} cannot start: something listens on {self.address}:{port} already")
        self.folder.mkdir(parents=True, exist_ok=True)
        # As a container does, it finds nothing of what it wrote before.
        shutil.rmtree(self.folder / "tasklib", ignore_errors=True)
        file = self.folder / "launch.json"
        file.write_text(json.dumps(launch, indent=2))
        inherited = {name: os.environ[name] for name in _INHERITED if name in os.environ}
        path = os.pathsep.join(filter(None, [str(LAUNCHER), environment.get("PYTHONPATH", "")]))
        with self.log.open("ab") as log:
            self._process = await asyncio.create_subprocess_exec(
                *dies_with_parent(),
                str(cornserve_python()),
                "-m",
                "cornserve_launcher",
                str(file),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=log,
                stderr=asyncio.subprocess.STDOUT,
                env={**inherited, "PYTHONUNBUFFERED": "1", **environment, "PYTHONPATH": path},
                cwd=self.folder,
                start_new_session=True,
            )
        await self._until_listening(self._process, within)

    async def _until_listening(self, process: asyncio.subprocess.Process, within: float) -> None:
        try:
            async with asyncio.timeout(within):
                for port in self.ports:
                    while not await _listens(self.address, port):
                        if process.returncode is not None:
                            raise ServiceFailed(
                                f"{self.name} ended with code {process.returncode} before it listened on "
                                f"{self.address}:{port}. The end of {self.log}:\n{self.log_tail()}"
                            )
                        await asyncio.sleep(_POLL)
        except TimeoutError:
            raise ServiceFailed(
                f"{self.name} does not listen on {self.address} after {within:g} s. "
                f"The end of {self.log}:\n{self.log_tail()}"
            ) from None

    def log_tail(self, lines: int = 30) -> str:
        """Its last lines."""
        return "\n".join(self.log_text().splitlines()[-lines:])

    async def ended(self) -> None:
        """Wait until the process has ended, if one runs."""
        if self._process is not None:
            await self._process.wait()

    async def kill(self) -> None:
        """SIGKILL, and wait until the process is gone. One that does not run is no error."""
        if (process := self._process) is None:
            return
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()
        self._process = None

    async def stop(self, grace: float = STOP_GRACE) -> int:
        """SIGTERM, after `grace` seconds SIGKILL; return the exit code."""
        if (process := self._process) is None:
            return 0
        with contextlib.suppress(ProcessLookupError):
            process.terminate()
        try:
            await asyncio.wait_for(process.wait(), grace)
        except TimeoutError:
            await self.kill()
        self._process = None
        return process.returncode or 0

    async def run(self, code: str, within: float = 30.0) -> Any:
        """Run code on the service's event loop: the body of an async function, whose result must be JSON.

        It sees `TASK_CLASS_REGISTRY`, `DESCRIPTOR_REGISTRY`, `living(class_name)` (all objects of a class of that
        name), `asyncio`, `gc`, `os`, `sys`. Raises ServiceFailed with the traceback.
        """
        async with asyncio.timeout(within):
            reader, writer = await self._probe()
            try:
                writer.write(json.dumps({"code": code}).encode() + b"\n")
                answer = json.loads(await reader.readline())
            finally:
                writer.close()
        if "error" in answer:
            raise ServiceFailed(f"{self.name}: {answer['error']}")
        return answer["value"]

    async def _probe(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        # A socket's path has room for 107 characters: too few for a folder deep in somebody's home.
        folder = os.open(self.folder, os.O_PATH)
        try:
            return await asyncio.open_unix_connection(f"/proc/self/fd/{folder}/probe.sock", limit=_LINE_LIMIT)
        except OSError as error:
            raise ServiceFailed(f"{self.name} cannot be looked into: {error}") from error
        finally:
            os.close(folder)


async def _listens(address: str, port: int) -> bool:
    try:
        _, writer = await asyncio.open_connection(address, port)
    except OSError:
        return False
    writer.close()
    return True
