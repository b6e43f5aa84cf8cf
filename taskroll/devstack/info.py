"""What a running stack says of itself: `stack.json` in its data folder."""

from __future__ import annotations

import os
from datetime import datetime
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict

from taskroll.devstack.versions import BinaryName

ADMIN, TASKROLL, DEVELOPER = "admin", "taskroll", "developer"


class ComponentInfo(BaseModel):
    """One process of the stack.

    Attributes:
        name: The binary's name.
        version: What the binary says of itself.
        binary: Path of the executable.
        source: Where it was found: `env`, `path`, `kubebuilder-assets`, `cache`, `download` or `build`.
        pid: Its process id; 0 while it is down.
        restarts: How often the supervisor has started it again after it died by itself.
        log: Path of its log file.
    """

    model_config = ConfigDict(frozen=True)

    name: BinaryName
    version: str
    binary: Path
    source: str
    pid: int
    restarts: int = 0
    log: Path


class StackInfo(BaseModel):
    """How to reach a running stack. Strings of a component that is not part of the stack are empty.

    Attributes:
        data_dir: Holds everything that outlives a restart.
        supervisor_pid: The process that owns all components; SIGTERM to it ends the stack in order.
        owner_pid: The process whose end also ends the stack; None when detached.
        started_at: When the stack was asked to start (UTC).
        temporal_address: `host:port` of Temporal's gRPC frontend.
        temporal_namespace: The namespace with taskroll's search attributes.
        ui_url: Temporal's web UI.
        temporal_metrics_url: Prometheus metrics of the Temporal server.
        kube_url: The API server.
        kubeconfig: Holds the contexts `admin` (system:masters), `taskroll` and `developer` (what RBAC grants them).
        kube_context: The context `admin`.
        audit_log: The API server's audit log: one JSON line per write.
        etcd_url: etcd's client address; anyone on this machine may read and write there.
        components: The processes, by binary name.
    """

    model_config = ConfigDict(frozen=True)

    schema_version: Literal[1] = 1
    data_dir: Path
    supervisor_pid: int
    owner_pid: int | None = None
    started_at: datetime
    temporal_address: str = ""
    temporal_namespace: str = ""
    ui_url: str = ""
    temporal_metrics_url: str = ""
    kube_url: str = ""
    kubeconfig: Path
    kube_context: str = ADMIN
    audit_log: Path
    etcd_url: str = ""
    components: dict[BinaryName, ComponentInfo]

    @classmethod
    def load(cls, path: Path) -> StackInfo:
        """Read a `stack.json`. Raises OSError or pydantic's ValidationError."""
        return cls.model_validate_json(path.read_bytes())

    def save(self, path: Path) -> None:
        """Write it in one step, so that a reader sees the old file or the new one."""
        temporary = path.with_name(f".{path.name}.{os.getpid()}")
        temporary.write_text(self.model_dump_json(indent=2) + "\n")
        temporary.replace(path)

    def environment(self) -> dict[str, str]:
        """The variables by which kubectl, the Temporal CLI, the SDK and taskroll find this stack."""
        found = {
            "KUBECONFIG": str(self.kubeconfig) if self.kube_url else "",
            "TEMPORAL_ADDRESS": self.temporal_address,
            "TEMPORAL_NAMESPACE": self.temporal_namespace,
        }
        return {key: value for key, value in found.items() if value}
