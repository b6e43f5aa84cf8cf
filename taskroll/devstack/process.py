"""A child process that cannot outlive its supervisor."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

_WRAPPER = Path(__file__).with_name("child.py")
# Nothing else of the caller's environment reaches the servers: a TEMPORAL_* or KUBECONFIG meant for clients would.
_INHERITED = ("PATH", "HOME", "TMPDIR", "TZ", "GOMAXPROCS", "GOMEMLIMIT")


def dies_with_parent() -> list[str]:
    """Return what to put before a command, with an absolute path, so that the kernel kills it when the starter dies.

    More exactly: when the thread dies that starts it.
    """
    return [sys.executable, "-I", "-S", str(_WRAPPER), str(os.getpid())]


class ChildProcess:
    """One command, started and stopped from the main thread of an asyncio program.

    Attributes:
        log: Where its output goes, appended.
        exited: Set while no process runs.
        exit_code: As `subprocess` gives it: negative for a signal; None while it runs or before the first start.
    """

    def __init__(self, command: Sequence[str], log: Path, on_exit: Callable[[], None]) -> None:
        self._command = list(command)
        self._on_exit = on_exit
        self._process: subprocess.Popen[bytes] | None = None
        self.log = log
        self.exited = asyncio.Event()
        self.exited.set()
        self.exit_code: int | None = None

    @property
    def pid(self) -> int:
        """The process id, 0 while none runs."""
        return self._process.pid if self._process else 0

    def start(self) -> None:
        """Start it; its death is seen through a pidfd, so that a reused process id cannot confuse anyone."""
        if self._process:
            raise RuntimeError(f"{self._command[0]} runs already")
        with self.log.open("ab") as stream:
            self._process = subprocess.Popen(  # noqa: S603 - the command is ours
                [*dies_with_parent(), *self._command],
                stdin=subprocess.DEVNULL,
                stdout=stream,
                stderr=subprocess.STDOUT,
                env={name: os.environ[name] for name in _INHERITED if name in os.environ},
            )
        self.exited.clear()
        self.exit_code = None
        pidfd = os.pidfd_open(self._process.pid)
        asyncio.get_running_loop().add_reader(pidfd, self._reap, pidfd, self._process)

    def signal(self, number: signal.Signals) -> None:
        """Send a signal, if it runs."""
        if self._process:
            self._process.send_signal(number)

    async def stop(self, grace: float, *, kill: bool = False) -> bool:
        """End it and wait for that; SIGKILL after `grace` seconds, or at once. Returns whether it went by itself."""
        self.signal(signal.SIGKILL if kill else signal.SIGTERM)
        try:
            await asyncio.wait_for(self.exited.wait(), grace)
        except TimeoutError:
            self.signal(signal.SIGKILL)
            await self.exited.wait()
            return False
        return True

    def log_tail(self, lines: int = 15) -> str:
        """Return the end of the log."""
        try:
            text = self.log.read_text(errors="replace")
        except OSError:
            return ""
        return "\n".join(line[:400] for line in text.splitlines()[-lines:])

    def _reap(self, pidfd: int, process: subprocess.Popen[bytes]) -> None:
        asyncio.get_running_loop().remove_reader(pidfd)
        os.close(pidfd)
        self.exit_code = process.wait()
        self._process = None
        self.exited.set()
        self._on_exit()
