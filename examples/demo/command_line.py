"""The real deploy tool, as a person runs it: a process, its output shown line by line."""

import asyncio
import shlex
import sys
from pathlib import Path

from examples.child_processes import end_process, start_process

from .expectation import expect
from .telling import Telling

PATIENCE = 180.0
"""Seconds that a command may take; the slowest waits for an update."""


class CommandLine:
    """Runs ``taskroll …``."""

    def __init__(self, telling: Telling, environment: dict[str, str], log: Path) -> None:
        self._telling = telling
        self._environment = environment
        self._log = log
        self._program = Path(sys.executable).with_name("taskroll")
        expect(self._program.exists(), "taskroll is installed beside this Python", self._program)

    async def run(self, line: str, *, exit_code: int = 0) -> None:
        """Show and run a command, as typed, and what it writes.

        Raises:
            ExpectationNotMet: where it ends with another exit code, or does not end.
        """
        name, *arguments = shlex.split(line)
        expect(name == "taskroll", "a command of taskroll", name)
        self._telling.command(line)
        process = await start_process([self._program, *arguments], self._log, self._environment, merged=True)
        try:
            async with asyncio.timeout(PATIENCE):
                assert process.stdout is not None
                async for written in process.stdout:
                    if text := written.decode().rstrip():
                        self._telling.output(text)
                ended = await process.wait()
        except TimeoutError:
            ended = f"still running after {PATIENCE:g} s"
        finally:
            await end_process(process)
        expect(ended == exit_code, f"exit code {exit_code} of «{line}»", ended)
