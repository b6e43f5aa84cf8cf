"""Run as `python -m taskroll.devstack.supervisor`: the process that owns the components of one stack.

It ends them in order on SIGTERM, on SIGINT and when its owner process ends; if it is killed itself, the kernel kills
them. It starts a component again that died by itself, so that a stack behaves like a cluster whose parts are looked
after.
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import sys
import time
from collections import Counter, deque
from collections.abc import Awaitable, Coroutine
from importlib.resources import files
from typing import Any

from taskroll.devstack.components import (
    START_ORDER,
    CommandSettings,
    command,
    kube_controller_manager_kubeconfig,
)
from taskroll.devstack.control import serve_control
from taskroll.devstack.credentials import (
    CONTROLLER_MANAGER,
    drop_aged_certificate,
    ensure_service_account_key,
    ensure_tokens,
    write_kubeconfig,
)
from taskroll.devstack.errors import DevStackError, StackAlreadyRunning, StackStartFailed
from taskroll.devstack.filelock import try_lock
from taskroll.devstack.info import ADMIN, ComponentInfo, StackInfo
from taskroll.devstack.layout import DataLayout
from taskroll.devstack.ports import LOOPBACK, pick_ports, remember_ports
from taskroll.devstack.process import ChildProcess
from taskroll.devstack.protocol import ControlReply, ControlRequest, LaunchPlan, StartReport
from taskroll.devstack.versions import BinaryName

_REVIVE_AFTER = 0.3
# A component that dies more often than this does not get better by another start.
_REVIVALS, _REVIVALS_WINDOW = 5, 60.0
_LOCK_PATIENCE = 1.0

_log = logging.getLogger("taskroll.devstack")


class Supervisor:
    """The components of one stack, from start to stop."""

    def __init__(self, plan: LaunchPlan) -> None:
        self._plan = plan
        self._layout = DataLayout(plan.data_dir)
        self._located = {binary.name: binary for binary in plan.binaries}
        self._order: list[BinaryName] = [name for name in START_ORDER if name in self._located]
        self._children: dict[BinaryName, ChildProcess] = {}
        self._restarts: Counter[BinaryName] = Counter()
        self._deaths: deque[float] = deque(maxlen=_REVIVALS)
        # Down on purpose: their end needs no answer.
        self._held_down: set[BinaryName] = set()
        self._ready = False
        self._end = asyncio.Event()
        self._tasks: set[asyncio.Task[None]] = set()
        self._tokens: dict[str, str] = {}
        self._settings = CommandSettings(layout_root=plan.data_dir, ports={}, namespace=plan.namespace)

    async def run(self) -> None:
        """Start all, report, and stay until told to end. Raises StackStartFailed."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._end.set)
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
        if self._plan.owner_pid is not None:
            self._watch_owner(self._plan.owner_pid)
        try:
            await self._unless_ended(self._start(), self._plan.start_timeout)
            async with serve_control(self._layout.control, self._handle):
                self._ready = True
                self._save_info()
                _report(StartReport(ready=self._info()))
                _leave_standard_output()
                await self._end.wait()
        finally:
            await self._stop_all()

    def _watch_owner(self, owner: int) -> None:
        pidfd = os.pidfd_open(owner)
        if os.getppid() != owner:
            raise StackStartFailed("the process that asked for the stack has ended")

        def owner_ended() -> None:
            _log.warning("owner %d has ended: stopping", owner)
            asyncio.get_running_loop().remove_reader(pidfd)
            self._end.set()

        asyncio.get_running_loop().add_reader(pidfd, owner_ended)

    async def _start(self) -> None:
        self._layout.create()
        self._layout.info.unlink(missing_ok=True)
        self._prepare_kube()
        port_lock = try_lock(self._plan.port_lock)
        while port_lock is None:
            await asyncio.sleep(0.05)
            port_lock = try_lock(self._plan.port_lock)
        try:
            ports = pick_ports(self._plan.preferred_ports)
            remember_ports(self._layout.ports, ports)
            self._settings = self._settings.model_copy(update={"ports": ports})
            # All at once where nothing forbids it: the API server waits for etcd by itself.
            first: list[BinaryName] = [name for name in self._order if name != "kube-controller-manager"]
            for name in first:
                self._child(name).start()
            await asyncio.gather(*(self._until_ready(name) for name in first))
        finally:
            os.close(port_lock)
        if "kube-controller-manager" in self._located:
            self._child("kube-controller-manager").start()
            await self._until_ready("kube-controller-manager")

    def _prepare_kube(self) -> None:
        kube = self._layout.kube
        self._tokens = ensure_tokens(kube / "tokens.csv")
        ensure_service_account_key(kube / "service-account.key")
        drop_aged_certificate(kube / "certs")
        policy = files("taskroll.devstack").joinpath("audit-policy.yaml").read_text()
        (kube / "audit-policy.yaml").write_text(policy)

    def _child(self, name: BinaryName) -> ChildProcess:
        if name not in self._children:
            self._children[name] = ChildProcess(
                command(name, self._located[name].path, self._settings),
                self._layout.log(name),
                on_exit=lambda: self._exited(name),
            )
        return self._children[name]

    async def _until_ready(self, name: BinaryName) -> None:
        """Wait until the component serves. Raises StackStartFailed if it ends first."""
        # Imported here: it brings the SDK, and the servers can come up meanwhile.
        from taskroll.devstack import readiness

        child, settings = self._child(name), self._settings
        certificate = self._layout.kube / "certs" / "apiserver.crt"
        checks = {
            "etcd": lambda: readiness.etcd_ready(settings.etcd_url),
            "kube-apiserver": lambda: readiness.kube_ready(settings.kube_url, self._tokens[ADMIN], certificate),
            "kube-controller-manager": lambda: readiness.controller_manager_ready(
                settings.kube_url, self._tokens[ADMIN], certificate
            ),
            "temporal": lambda: readiness.temporal_ready(
                settings.temporal_address, settings.namespace, settings.ui_url
            ),
        }
        if not await _first(checks[name](), child.exited.wait()):
            raise StackStartFailed(
                f"{name} ended with code {child.exit_code}. The end of {child.log}:\n{child.log_tail()}"
            )
        if name == "kube-apiserver":
            self._write_kubeconfigs(certificate.read_bytes())
        if not self._ready:
            _report(StartReport(progress=f"{name} {self._located[name].version} is ready"))

    def _write_kubeconfigs(self, certificate: bytes) -> None:
        users = {name: token for name, token in self._tokens.items() if name != CONTROLLER_MANAGER}
        write_kubeconfig(self._layout.kubeconfig, self._settings.kube_url, certificate, users)
        own = {CONTROLLER_MANAGER: self._tokens[CONTROLLER_MANAGER]}
        write_kubeconfig(kube_controller_manager_kubeconfig(self._layout), self._settings.kube_url, certificate, own)

    def _exited(self, name: BinaryName) -> None:
        child = self._children[name]
        if not self._ready or self._end.is_set() or name in self._held_down:
            return
        now = time.monotonic()
        _log.error("%s ended by itself with code %s:\n%s", name, child.exit_code, child.log_tail())
        if len(self._deaths) == _REVIVALS and now - self._deaths[0] < _REVIVALS_WINDOW:
            _log.error("too many deaths within %d s: the stack ends", _REVIVALS_WINDOW)
            self._end.set()
            return
        self._deaths.append(now)
        task = asyncio.get_running_loop().create_task(self._revive(name))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _revive(self, name: BinaryName) -> None:
        self._save_info()
        await asyncio.sleep(_REVIVE_AFTER)
        if self._end.is_set() or name in self._held_down or self._children[name].pid:
            return
        self._restarts[name] += 1
        self._children[name].start()
        self._save_info()
        _log.warning("%s was started again", name)

    async def _handle(self, request: ControlRequest) -> ControlReply:
        name = request.component
        if name not in self._located:
            return ControlReply(error=f"{name} is not part of this stack")
        child = self._child(name)
        if request.action == "start":
            self._held_down.discard(name)
            # A deleted data folder is a supported way to lose a component's state.
            self._layout.create()
            if not child.pid:
                child.start()
            try:
                await self._unless_ended(self._until_ready(name), self._plan.start_timeout)
            except StackStartFailed as error:
                return ControlReply(error=str(error))
        else:
            self._held_down.add(name)
            if child.pid:
                await child.stop(self._plan.stop_grace, kill=request.action == "kill")
        self._save_info()
        return ControlReply(info=self._info())

    async def _unless_ended(self, work: Coroutine[Any, Any, None], seconds: float) -> None:
        """Do the work, but not past the deadline nor past the order to end."""
        try:
            async with asyncio.timeout(seconds):
                if not await _first(work, self._end.wait()):
                    raise StackStartFailed("stopped before it was ready")
        except TimeoutError:
            tails = "\n".join(f"{child.log}:\n{child.log_tail(5)}" for child in self._children.values())
            raise StackStartFailed(f"not ready after {seconds:.0f} s. The ends of the logs:\n{tails}") from None

    async def _stop_all(self) -> None:
        self._end.set()
        for task in self._tasks:
            task.cancel()
        self._layout.info.unlink(missing_ok=True)
        # etcd last: the API server ends badly without it.
        await asyncio.gather(*(self._stop(name) for name in self._children if name != "etcd"))
        await self._stop("etcd")

    async def _stop(self, name: BinaryName) -> None:
        child = self._children.get(name)
        if child and child.pid and not await child.stop(self._plan.stop_grace):
            _log.warning("%s did not end within %.0f s and was killed", name, self._plan.stop_grace)

    def _save_info(self) -> None:
        if not self._end.is_set():
            self._info().save(self._layout.info)

    def _info(self) -> StackInfo:
        settings, ports = self._settings, self._settings.ports
        has_temporal, has_kube = "temporal" in self._located, "kube-apiserver" in self._located
        return StackInfo(
            data_dir=self._plan.data_dir,
            supervisor_pid=os.getpid(),
            owner_pid=self._plan.owner_pid,
            started_at=self._plan.started_at,
            temporal_address=settings.temporal_address if has_temporal else "",
            temporal_namespace=settings.namespace if has_temporal else "",
            ui_url=settings.ui_url if has_temporal else "",
            temporal_metrics_url=f"http://{LOOPBACK}:{ports['temporal-metrics']}/metrics" if has_temporal else "",
            kube_url=settings.kube_url if has_kube else "",
            kubeconfig=self._layout.kubeconfig,
            audit_log=self._layout.audit_log,
            etcd_url=settings.etcd_url if "etcd" in self._located else "",
            components={name: self._component(name) for name in self._order},
        )

    def _component(self, name: BinaryName) -> ComponentInfo:
        located, child = self._located[name], self._child(name)
        return ComponentInfo(
            name=name,
            version=located.version,
            binary=located.path,
            source=located.source,
            pid=child.pid,
            restarts=self._restarts[name],
            log=child.log,
        )


async def _first(work: Awaitable[Any], other: Awaitable[Any]) -> bool:
    """Return whether `work` ended before `other`; the later one is cancelled, an error of `work` raised."""
    tasks = [asyncio.ensure_future(work), asyncio.ensure_future(other)]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        if tasks[0].done():
            tasks[0].result()
            return True
        return False
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def _report(report: StartReport) -> None:
    sys.stdout.write(report.model_dump_json(exclude_none=True) + "\n")
    sys.stdout.flush()


def _leave_standard_output() -> None:
    """Let go of the pipe, so that the process that started a detached stack can end."""
    with open(os.devnull, "w") as nowhere:  # noqa: PTH123 - os.devnull is no place in a folder
        os.dup2(nowhere.fileno(), sys.stdout.fileno())


def _take_lock(layout: DataLayout) -> int:
    # Somebody may be looking whether the lock is held, for a moment.
    deadline = time.monotonic() + _LOCK_PATIENCE
    while (descriptor := try_lock(layout.lock)) is None:
        if time.monotonic() > deadline:
            raise StackAlreadyRunning(f"a stack runs on {layout.root}")
        time.sleep(0.02)
    # For those who want to stop a stack that is not ready yet.
    os.truncate(descriptor, 0)
    os.write(descriptor, str(os.getpid()).encode())
    return descriptor


def main() -> int:
    """Read the plan from standard input, run it; 0 after an orderly end, 1 if the stack did not start."""
    os.umask(0o077)
    logging.basicConfig(stream=sys.stderr, level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    plan = LaunchPlan.model_validate_json(sys.stdin.read())
    layout = DataLayout(plan.data_dir)
    try:
        lock = _take_lock(layout)
        # The control socket's path may be longer than the system allows unless it is relative.
        os.chdir(plan.data_dir)
        asyncio.run(Supervisor(plan).run())
        os.close(lock)
    except (DevStackError, OSError) as error:
        _log.error("%s", error)
        _report(StartReport(failed=str(error)))
        return 1
    return 0


if __name__ == "__main__":
    _code = main()
    logging.shutdown()
    # The SDK's threads can crash an interpreter that winds down right after a call; here nothing is left to do.
    os._exit(_code)
