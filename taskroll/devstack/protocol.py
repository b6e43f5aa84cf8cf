"""What passes between the supervisor and the processes that talk to it: one JSON object per line."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict

from taskroll.devstack.components import Located
from taskroll.devstack.info import StackInfo
from taskroll.devstack.versions import BinaryName


class LaunchPlan(BaseModel):
    """What the supervisor is to run; given on its standard input.

    Attributes:
        owner_pid: End the stack when this process, the supervisor's parent, ends; None to go on without it.
        port_lock: Held while ports are picked and taken, so that two stacks that start at once do not pick the same.
        start_timeout: Seconds until a stack that is not ready is given up.
        stop_grace: Seconds from SIGTERM to SIGKILL, for each component.
    """

    model_config = ConfigDict(frozen=True)

    data_dir: Path
    binaries: list[Located]
    namespace: str
    preferred_ports: dict[str, int]
    owner_pid: int | None
    port_lock: Path
    started_at: datetime
    start_timeout: float
    stop_grace: float


class StartReport(BaseModel):
    """What the supervisor says on its standard output while it starts: progress, then one of the other two."""

    progress: str | None = None
    ready: StackInfo | None = None
    failed: str | None = None


class ControlRequest(BaseModel):
    """What the supervisor does on request while it runs."""

    action: Literal["stop", "kill", "start"]
    component: BinaryName


class ControlReply(BaseModel):
    """The state after the request, or why it was not carried out."""

    info: StackInfo | None = None
    error: str | None = None
