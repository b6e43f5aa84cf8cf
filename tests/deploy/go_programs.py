"""Programs built from the Go modules in this folder; kept in taskroll's cache, one folder per state of a module."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path

import pytest

from taskroll.devstack import cache
from taskroll.devstack.filelock import locked

HERE = Path(__file__).parent


def build(module: str, packages: Mapping[str, str], files: Mapping[str, tuple[str, str]] | None = None) -> Path:
    """Return the folder with the built programs, building them first where the cache does not have them.

    Args:
        module: Name of the Go module's folder.
        packages: Go package by name of its program.
        files: Files of required modules to put beside the programs, by name: module path, and path within.
    """
    source = HERE / module
    target = cache.slot(f"test-{module}", _digest(source))
    if target.is_dir():
        return target
    go = shutil.which("go")
    if go is None:
        pytest.fail("no `go` on PATH: these tests build their checker with Go 1.26 or newer, as the dev stack does")
    with locked(cache.cache_root() / f"test-{module}.lock"):
        if not target.is_dir():
            with cache.filling(target) as draft:
                for name, package in packages.items():
                    arguments = ["build", "-mod=readonly", "-trimpath", "-ldflags=-s -w", f"-o={draft / name}", package]
                    _run(go, arguments, source)
                for name, (required, path) in (files or {}).items():
                    folder = _run(go, ["list", "-m", "-f", "{{.Dir}}", required], source).strip()
                    shutil.copyfile(Path(folder, path), draft / name)
    return target


def _digest(folder: Path) -> str:
    digest = hashlib.sha256()
    for path in sorted(folder.iterdir()):
        digest.update(path.name.encode() + b"\0" + path.read_bytes() + b"\0")
    return digest.hexdigest()[:12]


def _run(go: str, arguments: list[str], folder: Path) -> str:
    # Settings of the user's own would build something else than what is pinned.
    ignored = {"GOFLAGS", "GOWORK", "GOOS", "GOARCH", "GOEXPERIMENT"}
    environment = {name: value for name, value in os.environ.items() if name not in ignored}
    environment |= {"CGO_ENABLED": "0", "GOWORK": "off"}
    result = subprocess.run(
        [go, *arguments], cwd=folder, env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True
    )
    if result.returncode != 0:
        pytest.fail(f"go {' '.join(arguments)} in {folder.name}:\n{result.stderr[-3000:]}")
    return result.stdout
