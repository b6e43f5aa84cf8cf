"""Fake executables, and the one way to wait for something."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from taskroll.devstack.versions import BINARIES, BinaryName

VERSION_LINES = {
    "temporal": "temporal version {} (Server 1.29.1, UI 2.42.1)",
    "etcd": "etcd Version: {}\nGit SHA: abc\nGo Version: go1.26.8",
    "kube-apiserver": "Kubernetes v{}",
    "kube-controller-manager": "Kubernetes v{}",
}

MakeFake = Callable[..., Path]
Eventually = Callable[..., None]


@pytest.fixture
def eventually() -> Eventually:
    """Wait until a condition holds, or fail with what was waited for."""

    def wait(holds: Callable[[], bool], what: str, seconds: float = 20.0) -> None:
        deadline = time.monotonic() + seconds
        while not holds():
            assert time.monotonic() < deadline, f"not within {seconds} s: {what}"
            time.sleep(0.02)

    return wait


@pytest.fixture
def make_fake() -> MakeFake:
    """Make an executable that answers `--version` as the real one does, and runs `body` (sh) for all else."""

    def make(folder: Path, name: BinaryName, version: object, body: str = "exit 1") -> Path:
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / name
        lines = VERSION_LINES[name].format(version)
        path.write_text(f'#!/bin/sh\nif [ "$1" = --version ]; then echo "{lines}"; exit 0; fi\n{body}\n')
        path.chmod(0o755)
        return path

    return make


@pytest.fixture
def bare_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine with nothing on it but `sh`: no variable set, an empty cache. Returns the only folder on PATH."""
    for spec in BINARIES.values():
        monkeypatch.delenv(spec.env, raising=False)
    monkeypatch.delenv("KUBEBUILDER_ASSETS", raising=False)
    monkeypatch.setenv("TASKROLL_CACHE_DIR", str(tmp_path / "cache"))
    on_path = tmp_path / "bin"
    on_path.mkdir()
    monkeypatch.setenv("PATH", str(on_path))
    return on_path


def all_gone(pids: Sequence[int]) -> bool:
    """Tell whether none of the processes runs; one that is dead and not yet reaped counts as gone."""
    return not any(_runs(pid) for pid in pids)


def _runs(pid: int) -> bool:
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False
    return stat.rpartition(")")[2].split()[0] != "Z"


@pytest.fixture
def gone() -> Callable[[Sequence[int]], bool]:
    """See `all_gone`."""
    return all_gone
