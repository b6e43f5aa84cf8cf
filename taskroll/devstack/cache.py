"""The folder outside the repository that keeps what was downloaded or built, one slot per version and platform."""

from __future__ import annotations

import os
import platform
import shutil
import tempfile
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

_ARCHITECTURES = {"x86_64": "amd64", "amd64": "amd64", "aarch64": "arm64", "arm64": "arm64"}


def cache_root() -> Path:
    """Return `$TASKROLL_CACHE_DIR`, else `$XDG_CACHE_HOME/taskroll`, else `~/.cache/taskroll`."""
    if own := os.environ.get("TASKROLL_CACHE_DIR"):
        return Path(own).expanduser().absolute()
    if shared := os.environ.get("XDG_CACHE_HOME"):
        return Path(shared).expanduser().absolute() / "taskroll"
    return Path.home() / ".cache" / "taskroll"


def platform_name() -> tuple[str, str]:
    """Return operating system and processor as Go names them, such as `("linux", "amd64")`."""
    machine = platform.machine().lower()
    return platform.system().lower(), _ARCHITECTURES.get(machine, machine)


def slot(name: str, version: object) -> Path:
    """Return the folder for one version of one thing on this platform; it may not exist."""
    return cache_root() / "-".join([name, str(version), *platform_name()])


@contextmanager
def filling(target: Path) -> Generator[Path]:
    """Give an empty folder that becomes `target` in one step when the block ends without an error.

    The caller holds a lock (see `filelock.locked`). A reader sees nothing or the whole; a crash leaves only a folder
    whose name begins with a dot.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    prefix = f".{target.name}-"
    for left_by_a_crash in target.parent.glob(f"{prefix}*"):
        shutil.rmtree(left_by_a_crash, ignore_errors=True)
    draft = Path(tempfile.mkdtemp(prefix=prefix, dir=target.parent))
    try:
        yield draft
        draft.chmod(0o755)
        if target.exists():
            shutil.rmtree(target)
        draft.rename(target)
    finally:
        shutil.rmtree(draft, ignore_errors=True)
