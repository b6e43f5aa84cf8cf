"""Run as `python -m taskroll.devstack.supervisor`: the process that owns the components of one stack.

It ends them in order on SIGTERM, on SIGINT and when its owner process ends; if it is killed itself, the kernel kills
them. It starts a component again that died by itself, so that a stack behaves like a cluster whose parts are looked
after.
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import sys
import time
from collections import deque
from collections.abc import Coroutine
from typing import Any

from taskroll.devstack.control import serve_control
from taskroll.devstack.errors import DevStackError, StackAlreadyRunning, StackStartFailed
from taskroll.devstack.filelock import try_lock
from taskroll.devstack.layout import DataLayout
from taskroll.devstack.protocol import ControlReply, ControlRequest, LaunchPlan, StartReport
from taskroll.devstack.running import RunningComponents, completes_before
from taskroll.devstack.versions import BinaryName

_REVIVE_AFTER = 0.3
# A component that dies more often than this does not get better by another start.
_REVIVALS, _REVIVALS_WINDOW = 5, 60.0
_LOCK_PATIENCE = 1.0

_log = logging.getLogger("taskroll.devstack")


class Supervisor:
    """One stack from start to end: who may end it, and what happens to components that end by themselves."""

    def __init__(self, plan: LaunchPlan) -> None:
        self._plan = plan
        self._layout = DataLayout(plan.data_dir)
        self._components = RunningComponents(plan, self._exited)
        self._ready = False
        self._end = asyncio.Event()
        self._failure = ""
        # Down on purpose: their end needs no answer.
        self._held_down: set[BinaryName] = set()
        self._deaths: deque[float] = deque(maxlen=_REVIVALS)
        self._revivals: set[asyncio.Task[None]] = set()

    async def run(self) -> None:
        """Start all, report, and stay until told to end.

        Raises StackStartFailed, or DevStackError if a component cannot be kept alive.
        """
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._end.set)
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
        if self._plan.owner_pid is not None:
            self._watch_owner(self._plan.owner_pid)
        # Left by a crash.
        self._layout.info.unlink(missing_ok=True)
        try:
            await self._unless_ended(
                self._components.start_all(lambda text: _report(StartReport(progress=text))), self._plan.start_timeout
            )
            async with serve_control(self._layout.control, self._handle):
                self._ready = True
                self._save_info()
                _report(StartReport(ready=self._components.info()))
                _leave_standard_output()
                await self._end.wait()
        finally:
            await self._stop_all()
        if self._failure:
            raise DevStackError(self._failure)

    def _watch_owner(self, owner: int) -> None:
        pidfd = os.pidfd_open(owner)
        if os.getppid() != owner:
            raise StackStartFailed("the process that asked for the stack has ended")

        def owner_ended() -> None:
            _log.warning("owner %d has ended: stopping", owner)
            asyncio.get_running_loop().remove_reader(pidfd)
            self._end.set()

        asyncio.get_running_loop().add_reader(pidfd, owner_ended)

    async def _unless_ended(self, work: Coroutine[Any, Any, None], seconds: float) -> None:
        """Do the work, but not past the deadline nor past the order to end."""
        try:
            async with asyncio.timeout(seconds):
                if not await completes_before(work, self._end.wait()):
                    raise StackStartFailed("stopped before it was ready")
        except TimeoutError:
            raise StackStartFailed(
                f"not ready after {seconds:.0f} s. The ends of the logs:\n{self._components.log_tails()}"
            ) from None

    def _exited(self, name: BinaryName) -> None:
        if not self._ready or self._end.is_set() or name in self._held_down:
            return
        child, now = self._components[name], time.monotonic()
        _log.error("%s ended by itself with code %s:\n%s", name, child.exit_code, child.log_tail())
        if len(self._deaths) == _REVIVALS and now - self._deaths[0] < _REVIVALS_WINDOW:
            self._failure = f"components died over {_REVIVALS} times within {_REVIVALS_WINDOW:.0f} s, {name} the last"
            self._end.set()
            return
        self._deaths.append(now)
        task = asyncio.get_running_loop().create_task(self._revive(name))
        self._revivals.add(task)
        task.add_done_callback(self._revivals.discard)

    async def _revive(self, name: BinaryName) -> None:
        self._save_info()
        await asyncio.sleep(_REVIVE_AFTER)
        if self._end.is_set() or name in self._held_down or self._components[name].pid:
            return
        self._components.restarts[name] += 1
        self._components[name].start()
        self._save_info()
        _log.warning("%s was started again", name)

    async def _handle(self, request: ControlRequest) -> ControlReply:
        name = request.component
        if name not in self._components:
            return ControlReply(error=f"{name} is not part of this stack")
        if request.action == "start":
            self._held_down.discard(name)
            # A deleted data folder is a supported way to lose a component's state.
            self._layout.create()
            if not self._components[name].pid:
                self._components[name].start()
            try:
                await self._unless_ended(self._components.until_ready(name), self._plan.start_timeout)
            except StackStartFailed as error:
                return ControlReply(error=str(error))
        else:
            self._held_down.add(name)
            await self._components.stop(name, kill=request.action == "kill")
        self._save_info()
        return ControlReply(info=self._components.info())

    async def _stop_all(self) -> None:
        self._end.set()
        for task in self._revivals:
            task.cancel()
        self._layout.info.unlink(missing_ok=True)
        for name in await self._components.stop_all():
            _log.warning("%s did not end within %.0f s and was killed", name, self._plan.stop_grace)

    def _save_info(self) -> None:
        if not self._end.is_set():
            self._components.info().save(self._layout.info)


def _report(report: StartReport) -> None:
    sys.stdout.write(report.model_dump_json(exclude_none=True) + "\n")
    sys.stdout.flush()


def _leave_standard_output() -> None:
    """Let go of the pipe, so that the process that started a detached stack can end."""
    with open(os.devnull, "w") as nowhere:  # noqa: PTH123 - os.devnull is no place in a folder
        os.dup2(nowhere.fileno(), sys.stdout.fileno())


def _take_lock(layout: DataLayout) -> int:
    # Somebody may be looking whether the lock is held, for a moment.
    deadline = time.monotonic() + _LOCK_PATIENCE
    while (descriptor := try_lock(layout.lock)) is None:
        if time.monotonic() > deadline:
            raise StackAlreadyRunning(f"a stack runs on {layout.root}")
        time.sleep(0.02)
    # For those who want to stop a stack that is not ready yet.
    os.truncate(descriptor, 0)
    os.write(descriptor, str(os.getpid()).encode())
    return descriptor


def main() -> int:
    """Read the plan from standard input, run it; 0 after an ordered end, 1 after any other."""
    os.umask(0o077)
    logging.basicConfig(stream=sys.stderr, level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    plan = LaunchPlan.model_validate_json(sys.stdin.read())
    layout = DataLayout(plan.data_dir)
    try:
        lock = _take_lock(layout)
        # The control socket's path may be longer than the system allows unless it is relative.
        os.chdir(plan.data_dir)
        asyncio.run(Supervisor(plan).run())
        os.close(lock)
    except (DevStackError, OSError) as error:
        _log.error("%s", error)
        _report(StartReport(failed=str(error)))
        return 1
    return 0


if __name__ == "__main__":
    _code = main()
    logging.shutdown()
    # The SDK's threads can crash an interpreter that winds down right after a call; here nothing is left to do.
    os._exit(_code)
