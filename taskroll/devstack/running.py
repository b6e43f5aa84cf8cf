"""The components of one stack as running processes: starting them until they serve, stopping them, describing them."""

from __future__ import annotations

import asyncio
import os
from collections import Counter
from collections.abc import Awaitable, Callable
from importlib.resources import files
from typing import Any

from taskroll.devstack.components import (
    START_ORDER,
    CommandSettings,
    command,
    kube_controller_manager_kubeconfig,
)
from taskroll.devstack.credentials import (
    CONTROLLER_MANAGER,
    drop_aged_certificate,
    ensure_service_account_key,
    ensure_tokens,
    write_kubeconfig,
)
from taskroll.devstack.errors import StackStartFailed
from taskroll.devstack.filelock import try_lock
from taskroll.devstack.info import ADMIN, ComponentInfo, StackInfo
from taskroll.devstack.layout import DataLayout
from taskroll.devstack.ports import LOOPBACK, pick_ports, remember_ports
from taskroll.devstack.process import ChildProcess
from taskroll.devstack.protocol import LaunchPlan
from taskroll.devstack.versions import BinaryName

_PAUSE = 0.05


class RunningComponents:
    """The processes of a plan.

    Attributes:
        restarts: How often each was started again after it died by itself; counted by the caller.
    """

    def __init__(self, plan: LaunchPlan, on_exit: Callable[[BinaryName], None]) -> None:
        """Prepare; `on_exit` is called at each end of a process, whatever ended it."""
        self._plan = plan
        self._on_exit = on_exit
        self._layout = DataLayout(plan.data_dir)
        self._located = {binary.name: binary for binary in plan.binaries}
        self._order: list[BinaryName] = [name for name in START_ORDER if name in self._located]
        self._children: dict[BinaryName, ChildProcess] = {}
        self._tokens: dict[str, str] = {}
        self._settings = CommandSettings(layout_root=plan.data_dir, ports={}, namespace=plan.namespace)
        self.restarts: Counter[BinaryName] = Counter()

    def __contains__(self, name: BinaryName) -> bool:
        return name in self._located

    def __getitem__(self, name: BinaryName) -> ChildProcess:
        if name not in self._children:
            self._children[name] = ChildProcess(
                command(name, self._located[name].path, self._settings),
                self._layout.log(name),
                on_exit=lambda: self._on_exit(name),
            )
        return self._children[name]

    async def start_all(self, tell: Callable[[str], None]) -> None:
        """Pick ports, start everything and return when each component serves. Raises StackStartFailed."""
        self._layout.create()
        self._prepare_kube()
        port_lock = try_lock(self._plan.port_lock)
        while port_lock is None:
            await asyncio.sleep(_PAUSE)
            port_lock = try_lock(self._plan.port_lock)
        try:
            ports = pick_ports(self._plan.preferred_ports)
            remember_ports(self._layout.ports, ports)
            self._settings = self._settings.model_copy(update={"ports": ports})
            # All at once where nothing forbids it: the API server waits for etcd by itself.
            first: list[BinaryName] = [name for name in self._order if name != "kube-controller-manager"]
            await asyncio.gather(*(self._start(name, tell) for name in first))
        finally:
            os.close(port_lock)
        if "kube-controller-manager" in self:
            await self._start("kube-controller-manager", tell)

    async def until_ready(self, name: BinaryName) -> None:
        """Wait until the component serves. Raises StackStartFailed if it ends first."""
        # Imported here: it brings the SDK, and the servers can come up meanwhile.
        from taskroll.devstack import readiness

        child, settings = self[name], self._settings
        certificate = self._layout.kube / "certs" / "apiserver.crt"
        checks: dict[BinaryName, Callable[[], Awaitable[None]]] = {
            "etcd": lambda: readiness.etcd_ready(settings.etcd_url),
            "kube-apiserver": lambda: readiness.kube_ready(settings.kube_url, self._tokens[ADMIN], certificate),
            "kube-controller-manager": lambda: readiness.controller_manager_ready(
                settings.kube_url, self._tokens[ADMIN], certificate
            ),
            "temporal": lambda: readiness.temporal_ready(
                settings.temporal_address, settings.namespace, settings.ui_url
            ),
        }
        if not await completes_before(checks[name](), child.exited.wait()):
            raise StackStartFailed(
                f"{name} ended with code {child.exit_code}. The end of {child.log}:\n{child.log_tail()}"
            )
        if name == "kube-apiserver":
            self._write_kubeconfigs(certificate.read_bytes())

    async def stop(self, name: BinaryName, *, kill: bool = False) -> bool:
        """End one component, if it runs. Returns whether it went without being killed for its slowness."""
        child = self._children.get(name)
        return await child.stop(self._plan.stop_grace, kill=kill) if child and child.pid else True

    async def stop_all(self) -> list[BinaryName]:
        """End all components and return those that had to be killed."""
        # etcd last: the API server ends badly without it.
        names: list[BinaryName] = [name for name in self._children if name != "etcd"]
        in_order = await asyncio.gather(*(self.stop(name) for name in names))
        names.append("etcd")
        in_order.append(await self.stop("etcd"))
        return [name for name, orderly in zip(names, in_order, strict=True) if not orderly]

    def log_tails(self) -> str:
        """Return the ends of all logs."""
        return "\n".join(f"{child.log}:\n{child.log_tail(5)}" for child in self._children.values())

    def info(self) -> StackInfo:
        """Describe the stack as it is now."""
        settings, ports = self._settings, self._settings.ports
        has_temporal, has_kube = "temporal" in self, "kube-apiserver" in self
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
            etcd_url=settings.etcd_url if "etcd" in self else "",
            components={name: self._describe(name) for name in self._order},
        )

    async def _start(self, name: BinaryName, tell: Callable[[str], None]) -> None:
        self[name].start()
        await self.until_ready(name)
        tell(f"{name} {self._located[name].version} is ready")

    def _prepare_kube(self) -> None:
        kube = self._layout.kube
        self._tokens = ensure_tokens(kube / "tokens.csv")
        ensure_service_account_key(kube / "service-account.key")
        drop_aged_certificate(kube / "certs")
        policy = files("taskroll.devstack").joinpath("audit-policy.yaml").read_text()
        (kube / "audit-policy.yaml").write_text(policy)

    def _write_kubeconfigs(self, certificate: bytes) -> None:
        server = self._settings.kube_url
        users = {name: token for name, token in self._tokens.items() if name != CONTROLLER_MANAGER}
        write_kubeconfig(self._layout.kubeconfig, server, certificate, users)
        own = {CONTROLLER_MANAGER: self._tokens[CONTROLLER_MANAGER]}
        write_kubeconfig(kube_controller_manager_kubeconfig(self._layout), server, certificate, own)

    def _describe(self, name: BinaryName) -> ComponentInfo:
        located, child = self._located[name], self[name]
        return ComponentInfo(
            name=name,
            version=located.version,
            binary=located.path,
            source=located.source,
            pid=child.pid,
            restarts=self.restarts[name],
            log=child.log,
        )


async def completes_before(work: Awaitable[Any], other: Awaitable[Any]) -> bool:
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
