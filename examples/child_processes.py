"""Processes that the example starts: each dies with the process that started it, and can be ended in order."""

import asyncio
import contextlib
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from taskroll.devstack.process import dies_with_parent

ROOT = Path(__file__).parents[1]

END_GRACE = 5.0
"""Seconds that a process gets between SIGTERM and SIGKILL."""

LINE_LIMIT = 4 * 1024 * 1024
"""Bytes of a line that a process writes."""


async def start_process(
    command: Sequence[str | Path],
    log: Path,
    environment: Mapping[str, str],
    *,
    merged: bool = False,
    takes_orders: bool = False,
) -> asyncio.subprocess.Process:
    """Start a program whose stdout is a pipe to read. Call it in the main thread: the kernel watches that one.

    Args:
        command: Program and arguments, the program with its absolute path.
        log: Where its stderr goes, appended.
        environment: All of it; nothing is inherited.
        merged: Send stderr to the pipe as well, in the order of the writes.
        takes_orders: Give it a pipe as stdin, instead of nothing.
    """
    with log.open("ab") as stream:
        return await asyncio.create_subprocess_exec(
            *dies_with_parent(),
            *map(str, command),
            stdin=asyncio.subprocess.PIPE if takes_orders else asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT if merged else stream,
            env=dict(environment),
            cwd=ROOT,
            limit=LINE_LIMIT,
            # A Ctrl-C in the terminal is for the demo, which then ends its processes in order.
            start_new_session=True,
        )


def inherited_environment() -> dict[str, str]:
    """What any program needs of this process's environment; nothing that says whom taskroll or Temporal talk to."""
    names = ("PATH", "HOME", "TMPDIR", "LANG", "LC_ALL", "USER", "LOGNAME", "TZ")
    return {name: os.environ[name] for name in names if name in os.environ}


def python_module(name: str) -> list[str]:
    """The command that runs a module of this repository."""
    return [sys.executable, "-m", name]


async def end_process(process: asyncio.subprocess.Process, grace: float = END_GRACE) -> int:
    """SIGTERM, after `grace` seconds SIGKILL; returns its exit code. One that has ended is no error."""
    with contextlib.suppress(ProcessLookupError):
        process.terminate()
    try:
        return await asyncio.wait_for(process.wait(), grace)
    except TimeoutError:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        return await process.wait()
