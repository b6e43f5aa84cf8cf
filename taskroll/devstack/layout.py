"""Where things lie in a data folder."""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass
from pathlib import Path

from taskroll.devstack.versions import BinaryName

_LOG_LIMIT = 10 * 1024 * 1024


def default_data_dir() -> Path:
    """Return `$XDG_DATA_HOME/taskroll/dev`, else `~/.local/share/taskroll/dev`."""
    shared = os.environ.get("XDG_DATA_HOME")
    return (Path(shared).expanduser().absolute() if shared else Path.home() / ".local" / "share") / "taskroll" / "dev"


@dataclass(frozen=True)
class DataLayout:
    """Names the files of a data folder; all of them together are the stack's whole state."""

    root: Path

    @property
    def lock(self) -> Path:
        """Held by the supervisor for its lifetime: the truth about whether the stack runs. Holds its process id."""
        return self.root / "lock"

    @property
    def info(self) -> Path:
        """The `StackInfo` of a stack that is ready; stale when the lock is free."""
        return self.root / "stack.json"

    @property
    def control(self) -> Path:
        """The supervisor's Unix socket."""
        return self.root / "control.sock"

    @property
    def ports(self) -> Path:
        """The ports of the last start."""
        return self.root / "ports.json"

    @property
    def kubeconfig(self) -> Path:
        """The three users' way in."""
        return self.root / "kubeconfig"

    @property
    def temporal(self) -> Path:
        """Temporal's data: may be deleted while Temporal is down."""
        return self.root / "temporal"

    @property
    def etcd(self) -> Path:
        """The data of etcd, so of the Kubernetes API."""
        return self.root / "etcd"

    @property
    def kube(self) -> Path:
        """The API server's certificate, keys, tokens and policies."""
        return self.root / "kube"

    @property
    def logs(self) -> Path:
        """A log per process and the API server's audit log."""
        return self.root / "logs"

    @property
    def audit_log(self) -> Path:
        """One JSON line per write to the API server."""
        return self.logs / "kube-audit.log"

    def log(self, name: BinaryName | str) -> Path:
        """The log file of one process."""
        return self.logs / f"{name}.log"

    def create(self) -> None:
        """Make the folders, closed to other users, and set aside logs that have grown past 10 MiB."""
        self.root.mkdir(parents=True, exist_ok=True)
        self.root.chmod(0o700)
        for folder in (self.temporal, self.kube, self.logs):
            folder.mkdir(exist_ok=True)
        # etcd warns unless its folder is closed to others.
        self.etcd.mkdir(mode=0o700, exist_ok=True)
        for log in self.logs.glob("*.log"):
            if log.stat().st_size > _LOG_LIMIT:
                log.replace(log.with_suffix(".log.old"))

    def delete(self) -> None:
        """Delete what this package made here, and the folder if nothing else is in it."""
        if not self.root.is_dir():
            return
        for folder in (self.temporal, self.etcd, self.kube, self.logs):
            shutil.rmtree(folder, ignore_errors=True)
        for file in (self.info, self.control, self.ports, self.kubeconfig, self.lock):
            file.unlink(missing_ok=True)
        if not any(self.root.iterdir()):
            self.root.rmdir()
