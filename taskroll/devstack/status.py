"""Stacks that other processes own: what runs on a data folder, stopping it, deleting its data."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from taskroll.devstack.errors import DevStackError, StackAlreadyRunning, StackNotRunning
from taskroll.devstack.filelock import is_locked
from taskroll.devstack.info import StackInfo
from taskroll.devstack.layout import DataLayout

# The components stop in two steps, each with a grace of 8 s before the SIGKILL.
STOP_TIMEOUT = 30.0
_KILL_TIMEOUT = 5.0
_PAUSE = 0.05


class StackStatus(BaseModel):
    """What is on a data folder.

    Attributes:
        state: `running`; `changing`: on its way up or down; `crashed`: ended without being stopped, the data is kept;
            `stopped`: ended in order, the data is kept; `absent`: no data.
        data_dir: The folder.
        info: The running stack, or what the crashed one said last.
    """

    model_config = ConfigDict(frozen=True)

    state: Literal["running", "changing", "crashed", "stopped", "absent"]
    data_dir: Path
    info: StackInfo | None = None


def stack_status(data_dir: Path) -> StackStatus:
    """Tell what is on a data folder.

    A `stack.json` alone proves nothing, since a crash leaves it behind: what counts is the lock, which the kernel drops
    when its holder dies.
    """
    layout = DataLayout(data_dir.absolute())
    locked = is_locked(layout.lock)
    try:
        info = StackInfo.load(layout.info)
    except (OSError, ValidationError):
        info = None
    if locked:
        state = "running" if info else "changing"
    elif info:
        state = "crashed"
    else:
        state = "stopped" if layout.lock.exists() else "absent"
    return StackStatus(state=state, data_dir=layout.root, info=info)


def running_stack(data_dir: Path) -> StackInfo | None:
    """Return the stack that runs on a data folder; None if none does or it is not ready."""
    status = stack_status(data_dir)
    return status.info if status.state == "running" else None


def stop_stack(data_dir: Path, timeout: float = STOP_TIMEOUT) -> None:
    """Stop the stack on a data folder, ready or not, and wait for its end; killed after `timeout` seconds.

    Raises StackNotRunning, or DevStackError if even SIGKILL does not end it.
    """
    layout = DataLayout(data_dir.absolute())
    if not is_locked(layout.lock):
        raise StackNotRunning(f"no stack runs on {layout.root}")
    try:
        pidfd = os.pidfd_open(int(layout.lock.read_text()))
    except (ProcessLookupError, ValueError):
        # It ended, or began, this moment.
        raise StackNotRunning(f"no stack runs on {layout.root}") from None
    try:
        for number, patience in ((signal.SIGTERM, timeout), (signal.SIGKILL, _KILL_TIMEOUT)):
            signal.pidfd_send_signal(pidfd, number)
            if _unlocked(layout.lock, patience):
                return
        raise DevStackError(f"the stack on {layout.root} does not end")
    except ProcessLookupError:
        return
    finally:
        os.close(pidfd)


def delete_data(data_dir: Path) -> None:
    """Delete a stack's data; files that are not the stack's stay. Raises StackAlreadyRunning."""
    layout = DataLayout(data_dir.absolute())
    if is_locked(layout.lock):
        raise StackAlreadyRunning(f"a stack runs on {layout.root}: stop it first")
    layout.delete()


def _unlocked(lock: Path, patience: float) -> bool:
    deadline = time.monotonic() + patience
    while is_locked(lock):
        if time.monotonic() > deadline:
            return False
        time.sleep(_PAUSE)
    return True
