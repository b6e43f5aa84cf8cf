"""Cornserve's own virtual environment, which `make interop` makes from `interop/requirements.lock`."""

from __future__ import annotations

import os
from pathlib import Path

ROOT = Path(__file__).parent
LAUNCHER = ROOT / "launcher"
TASKLIB = ROOT / "tasklib"
LOGS = ROOT.parent / "build" / "interop"

VARIABLE = "TASKROLL_INTEROP_PYTHON"


class EnvironmentMissing(RuntimeError):
    """Cornserve's environment has not been made."""


def cornserve_python() -> Path:
    """The interpreter of Cornserve's environment: `interop/.venv`, or what `TASKROLL_INTEROP_PYTHON` names.

    Raises EnvironmentMissing.
    """
    python = Path(os.environ.get(VARIABLE) or ROOT / ".venv" / "bin" / "python")
    if not python.is_file():
        raise EnvironmentMissing(
            f"{python} is no file: run `make interop-setup`, or let {VARIABLE} name an interpreter"
        )
    return python


def site_packages() -> Path:
    """Where Cornserve's sources are in that environment: to be read, not imported."""
    found = sorted((cornserve_python().parents[1] / "lib").glob("python3*/site-packages"))
    if not found:
        raise EnvironmentMissing(f"{cornserve_python().parents[1]} has no site-packages: remove it and make it again")
    return found[0]
