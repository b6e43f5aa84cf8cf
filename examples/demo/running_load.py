"""The load's process, and what it has recorded so far."""

import asyncio
from collections.abc import Collection
from pathlib import Path

from examples.child_processes import end_process, python_module, start_process
from examples.load_record import LoadRecord

from .expectation import ExpectationNotMet


class RunningLoad:
    """Reads the records of the load as they come, and keeps them in a file too."""

    def __init__(self, process: asyncio.subprocess.Process, file: Path) -> None:
        self._process = process
        self._file = file
        self._news = asyncio.Condition()
        self._reading = asyncio.create_task(self._read())
        self.records: list[LoadRecord] = []

    @classmethod
    async def start(cls, arguments: list[str], folder: Path, environment: dict[str, str]) -> "RunningLoad":
        """Start the process ``python -m examples.load`` with these arguments."""
        command = [*python_module("examples.load"), *arguments]
        process = await start_process(command, folder / "load.log", environment)
        return cls(process, folder / "load.jsonl")

    async def answers(self, services: Collection[str], count: int, sent_after: float) -> list[LoadRecord]:
        """Wait until each service has answered so many requests that were sent after that time; return them all.

        Raises:
            ExpectationNotMet: where the load has ended.
        """
        async with self._news:
            while True:
                found = [record for record in self.records if record.at > sent_after]
                answered = [record.service for record in found if record.failed is None]
                if all(answered.count(service) >= count for service in services):
                    return found
                if self._reading.done():
                    raise ExpectationNotMet("the load has ended by itself; see load.log")
                await self._news.wait()

    async def stop(self) -> None:
        """End it in order; nothing that it recorded is lost."""
        await end_process(self._process)
        await self._reading

    async def _read(self) -> None:
        assert self._process.stdout is not None
        with self._file.open("w") as copy:
            async for line in self._process.stdout:
                text = line.decode()
                copy.write(text)
                self.records.append(LoadRecord.parse(text))
                async with self._news:
                    self._news.notify_all()
        async with self._news:
            self._news.notify_all()
