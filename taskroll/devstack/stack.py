"""The front: start a stack, find a running one, stop it."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import time
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import IO

from taskroll.devstack.binaries import locate_all
from taskroll.devstack.cache import cache_root
from taskroll.devstack.components import DEFAULT_COMPONENTS, START_ORDER
from taskroll.devstack.control import send_control
from taskroll.devstack.errors import (
    DataFolderUnusable,
    DevStackError,
    StackAlreadyRunning,
    StackNotRunning,
    StackStartFailed,
)
from taskroll.devstack.filelock import is_locked
from taskroll.devstack.info import StackInfo
from taskroll.devstack.layout import DataLayout
from taskroll.devstack.ports import remembered_ports
from taskroll.devstack.progress import Say, say
from taskroll.devstack.protocol import ControlRequest, LaunchPlan, StartReport
from taskroll.devstack.status import STOP_TIMEOUT, running_stack
from taskroll.devstack.versions import BinaryName

START_TIMEOUT = 120.0
# Long enough for an orderly end on a busy machine; nothing is lost by the SIGKILL after it.
STOP_GRACE = 8.0
_PAUSE = 0.05


class DevStack:
    """One stack on one data folder; a context manager, synchronous and asynchronous.

    It ends with the `with` block, and also when this process ends in any way, SIGKILL included; with `detach` only by
    `stop`. A second start on the same folder finds the same data, ports and tokens.

    Attributes:
        components: What it runs, in the order of their start.
    """

    def __init__(
        self,
        data_dir: Path,
        *,
        components: Iterable[BinaryName] = DEFAULT_COMPONENTS,
        namespace: str = "default",
        ports: Mapping[str, int] | None = None,
        detach: bool = False,
        start_timeout: float = START_TIMEOUT,
        stop_grace: float = STOP_GRACE,
        tell: Say = say,
    ) -> None:
        """Prepare; nothing runs yet.

        Args:
            data_dir: Made if need be. Holds everything that outlives the stack.
            components: What to run; the API server brings etcd, the controller manager the API server.
            namespace: Temporal's namespace, made if need be.
            ports: Wanted ports, by the names in `ports.DEFAULT_PORTS`; another is taken where one is not free.
            detach: Let the stack outlive this process.
            start_timeout: Seconds from the start of the processes until they must be ready.
            stop_grace: Seconds that each component has to end in order before it is killed.
            tell: Gets a line for each step; stderr by default.
        """
        self._layout = DataLayout(data_dir.absolute())
        self.components = _completed(components)
        self._namespace = namespace
        self._ports = dict(ports or {})
        self._detach = detach
        self._start_timeout = start_timeout
        self._stop_grace = stop_grace
        self._tell = tell
        self._supervisor: subprocess.Popen[str] | None = None

    def start(self) -> StackInfo:
        """Get the binaries, start all components and return when each of them serves.

        Raises DataFolderUnusable, StackAlreadyRunning, StackStartFailed, or what `binaries.locate` raises.
        """
        if sys.platform != "linux":
            raise DevStackError(
                "the local stack needs Linux, whose kernel ends it with its owner; elsewhere use Compose"
            )
        if is_locked(self._layout.lock):
            raise StackAlreadyRunning(f"a stack runs on {self._layout.root}")
        # Before the binaries, which may have to be built.
        try:
            self._layout.root.mkdir(parents=True, exist_ok=True)
            self._layout.logs.mkdir(exist_ok=True)
        except OSError as error:
            raise DataFolderUnusable(
                f"data folder {str(self._layout.root)!r} cannot be used: {error.strerror}; name a folder that you may "
                "write, or one that can be made"
            ) from error
        binaries = locate_all(self.components, self._tell)
        cache_root().mkdir(parents=True, exist_ok=True)
        plan = LaunchPlan(
            data_dir=self._layout.root,
            binaries=binaries,
            namespace=self._namespace,
            preferred_ports=remembered_ports(self._layout.ports) | self._ports,
            owner_pid=None if self._detach else os.getpid(),
            port_lock=cache_root() / "ports.lock",
            started_at=datetime.now(UTC),
            start_timeout=self._start_timeout,
            stop_grace=self._stop_grace,
        )
        with self._layout.log("supervisor").open("a") as log:
            self._supervisor = subprocess.Popen(
                [sys.executable, "-m", "taskroll.devstack.supervisor"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                env=_with_this_package(),
                # A group of its own with all components: Ctrl-C in the terminal is for this process, which then stops
                # the stack in order.
                start_new_session=True,
            )
        try:
            return self._launch(self._supervisor, plan)
        except BaseException:
            self.stop()
            raise

    def ensure(self) -> tuple[StackInfo, bool]:
        """Return the stack that runs on the data folder, started now if none does, and whether it was started now.

        One that is on its way up or down is waited for. Raises as `start`.
        """
        while True:
            if running := running_stack(self._layout.root):
                return running, False
            if is_locked(self._layout.lock):
                time.sleep(_PAUSE)
                continue
            try:
                return self.start(), True
            except (StackAlreadyRunning, StackStartFailed):
                # Somebody else may have been faster.
                if not is_locked(self._layout.lock):
                    raise

    def wait(self) -> int:
        """Wait until the stack has ended, by itself or by an order, and return its exit code: 0 for an order."""
        if self._supervisor is None:
            raise StackNotRunning("this process has started no stack")
        return self._supervisor.wait()

    def stop(self, timeout: float = STOP_TIMEOUT) -> None:
        """End all components in order and wait for that; killed after `timeout` seconds. Nothing to do is no error."""
        if self._supervisor:
            _end(self._supervisor, timeout)
            self._supervisor = None

    def stop_component(self, name: BinaryName, *, kill: bool = False) -> StackInfo:
        """Stop one component, in order or by SIGKILL; it stays down until `start_component`."""
        request = ControlRequest(action="kill" if kill else "stop", component=name)
        return send_control(self._layout.control, request, STOP_TIMEOUT)

    def start_component(self, name: BinaryName) -> StackInfo:
        """Start a stopped component and return when it serves, at the address it had."""
        return send_control(
            self._layout.control, ControlRequest(action="start", component=name), self._start_timeout + STOP_TIMEOUT
        )

    def __enter__(self) -> StackInfo:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()

    async def __aenter__(self) -> StackInfo:
        starting = asyncio.ensure_future(asyncio.to_thread(self.start))
        try:
            return await asyncio.shield(starting)
        except asyncio.CancelledError:
            # The thread cannot be interrupted: what it starts must not stay behind.
            await asyncio.gather(starting, return_exceptions=True)
            await asyncio.to_thread(self.stop)
            raise

    async def __aexit__(self, *_: object) -> None:
        await asyncio.to_thread(self.stop)

    async def astart(self) -> StackInfo:
        """`start` for asynchronous code."""
        return await self.__aenter__()

    async def astop(self) -> None:
        """`stop` for asynchronous code."""
        await self.__aexit__()

    def _launch(self, supervisor: subprocess.Popen[str], plan: LaunchPlan) -> StackInfo:
        stdin, stdout = _pipes(supervisor)
        with stdin:
            stdin.write(plan.model_dump_json())
        with stdout:
            for line in stdout:
                report = StartReport.model_validate_json(line)
                if report.ready:
                    return report.ready
                if report.failed:
                    raise StackStartFailed(report.failed)
                self._tell(report.progress or "")
        raise StackStartFailed(f"the supervisor ended; see {self._layout.log('supervisor')}")


def _completed(components: Iterable[BinaryName]) -> list[BinaryName]:
    wanted = set(components)
    if "kube-controller-manager" in wanted:
        wanted.add("kube-apiserver")
    if "kube-apiserver" in wanted:
        wanted.add("etcd")
    return [name for name in START_ORDER if name in wanted]


def _with_this_package() -> dict[str, str]:
    """Let the supervisor import what this process has imported, also where taskroll is not installed."""
    here = str(Path(__file__).parents[2])
    return os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, [here, os.environ.get("PYTHONPATH")]))}


def _pipes(process: subprocess.Popen[str]) -> tuple[IO[str], IO[str]]:
    if process.stdin is None or process.stdout is None:
        raise RuntimeError("the supervisor was started without pipes")
    return process.stdin, process.stdout


def _end(supervisor: subprocess.Popen[str], timeout: float) -> None:
    supervisor.terminate()
    try:
        supervisor.wait(timeout)
    except subprocess.TimeoutExpired:
        supervisor.kill()
        supervisor.wait()
