"""Installs an adapter while an interpreter starts.

`taskroll-agent.pth`, which the distribution puts into site-packages, calls this where ``TASKROLL_AGENT_ADAPTER`` names
an adapter, in every interpreter of the environment: also in those that have nothing to do with the platform. So it
registers import hooks and nothing else, and no error of it leaves it.
"""

import os
import sys
from importlib import import_module
from typing import Final

VARIABLE: Final = "TASKROLL_AGENT_ADAPTER"

ADAPTERS: Final = {"cornserve": "taskroll_agent.adapters.cornserve.hooks"}
"""Name → the module whose `install` registers the hooks."""

_started: set[str] = set()
"""Names seen: an environment whose site-packages stands on the path under two names has its .pth files read twice."""


def start_adapter() -> None:
    """Install the adapter that the environment names; what keeps it from that is written to standard error."""
    name = os.environ.get(VARIABLE, "")
    if name in _started:
        return
    _started.add(name)
    try:
        if name not in ADAPTERS:
            known = ", ".join(ADAPTERS)
            raise ValueError(f"{name!r} is no adapter; known: {known}")
        import_module(ADAPTERS[name]).install()
    except Exception as error:  # noqa: BLE001  an interpreter must start whatever its environment says
        sys.stderr.write(f"taskroll-agent: {VARIABLE}: no adapter installed: {type(error).__name__}: {error}\n")
