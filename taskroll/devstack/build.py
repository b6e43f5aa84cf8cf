"""Building a binary from its Go module, pinned by the `go.mod` and `go.sum` under `gobuild/`."""

from __future__ import annotations

import os
import shutil
import subprocess
from importlib.resources import as_file, files
from pathlib import Path

from taskroll.devstack.errors import BuildFailed
from taskroll.devstack.process import dies_with_parent
from taskroll.devstack.progress import Say, ticking
from taskroll.devstack.versions import BinarySpec

_OUTPUT_TAIL = 25


def build(spec: BinarySpec, target: Path, say: Say) -> None:
    """Build the pinned version into the file `target`. Raises BuildFailed.

    Every module is checked against go.sum: `-mod=readonly` refuses one that is not in it.
    """
    go = shutil.which("go")
    if go is None:
        raise BuildFailed("no `go` on PATH")
    say(f"{spec.name} {spec.pinned}: building from Go modules, usually about {spec.build_minutes:g} min on two cores")
    log = target.with_suffix(".build.log")
    with as_file(files("taskroll.devstack") / "gobuild" / spec.module) as module, log.open("w+") as output:
        options = ["-mod=readonly", "-buildvcs=false", "-trimpath", f"-ldflags=-s -w {spec.ldflags}"]
        process = subprocess.Popen(  # noqa: S603 - the command is ours
            [*dies_with_parent(), go, "build", *options, "-o", target, spec.package],
            cwd=module,
            env=_environment(),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
        )
        try:
            with ticking(f"building {spec.name}", lambda: _downloads(log)):
                code = process.wait()
        finally:
            if process.poll() is None:
                process.terminate()
                process.wait()
        output.seek(0)
        lines = output.read().splitlines()
    log.unlink()
    if code != 0:
        raise BuildFailed(f"go build of {spec.package} ended with code {code}:\n" + "\n".join(lines[-_OUTPUT_TAIL:]))


def _environment() -> dict[str, str]:
    # A workspace or flags of the user's would build something else than what is pinned. Without cgo the result needs no
    # C compiler and no particular C library.
    ignored = {"GOFLAGS", "GOWORK", "GOOS", "GOARCH", "GOEXPERIMENT"}
    kept = {key: value for key, value in os.environ.items() if key not in ignored}
    return kept | {"CGO_ENABLED": "0", "GOWORK": "off", "GOFLAGS": ""}


def _downloads(log: Path) -> str:
    count = log.read_text(errors="replace").count("go: downloading ")
    return f"({count} modules downloaded)" if count else ""
