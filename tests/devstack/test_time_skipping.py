"""Thirty days in under a second."""

from __future__ import annotations

import asyncio
import hashlib
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Sequence
from datetime import timedelta
from pathlib import Path

import pytest
from temporalio import workflow
from temporalio.testing import WorkflowEnvironment
from temporalio.worker import Worker

from taskroll.devstack.errors import BinaryNotFound, ChecksumMismatch
from taskroll.devstack.ports import pick_ports
from taskroll.devstack.time_skipping import ENV, time_skipping_server, verify_jars

Eventually = Callable[..., None]
Gone = Callable[[Sequence[int]], bool]


def is_listening(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


STARTER = """
import subprocess, sys, time
print(subprocess.Popen(sys.argv[1:]).pid, flush=True)
time.sleep(600)
"""


@workflow.defn(sandboxed=False)
class LongSleep:
    @workflow.run
    async def run(self) -> str:
        await asyncio.sleep(timedelta(days=30).total_seconds())
        return "awake"


@pytest.fixture(scope="module")
def server() -> Path:
    try:
        return time_skipping_server()
    except BinaryNotFound as error:
        pytest.skip(f"neither network nor Java and Maven here: {error}")


async def test_thirty_days_pass_at_once(server: Path) -> None:
    async with (
        await WorkflowEnvironment.start_time_skipping(test_server_existing_path=str(server)) as environment,
        Worker(environment.client, task_queue="skipping", workflows=[LongSleep]),
    ):
        before = await environment.get_current_time()
        async with asyncio.timeout(30):
            result = await environment.client.execute_workflow(LongSleep.run, id="sleep", task_queue="skipping")
        assert result == "awake"
        assert await environment.get_current_time() - before >= timedelta(days=30)


def test_server_ends_with_a_killed_starter(server: Path, eventually: Eventually, gone: Gone) -> None:
    port = str(pick_ports({"any": 45000})["any"])
    starter = subprocess.Popen([sys.executable, "-c", STARTER, str(server), port], stdout=subprocess.PIPE, text=True)
    assert starter.stdout
    pid = int(starter.stdout.readline())
    # Only then has the launcher looked who its parent is.
    eventually(lambda: is_listening(int(port)), "the server listens")
    assert not gone([pid])
    os.kill(starter.pid, signal.SIGKILL)
    starter.wait()
    eventually(lambda: gone([pid]), "the server is gone")


def test_named_server_is_taken_and_must_be_executable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    named = tmp_path / "server"
    named.write_text("#!/bin/sh\n")
    monkeypatch.setenv(ENV, str(named))
    with pytest.raises(BinaryNotFound, match="no executable file"):
        time_skipping_server()
    named.chmod(0o755)
    assert time_skipping_server() == named


@pytest.mark.parametrize("wrong", ["changed", "missing", "extra"])
def test_jars_other_than_the_pinned_ones_are_refused(wrong: str, tmp_path: Path) -> None:
    folder = tmp_path / "jars"
    folder.mkdir()
    for name in ("a.jar", "b.jar"):
        (folder / name).write_bytes(name.encode())
    sums = tmp_path / "jars.sha256"
    sums.write_text("".join(f"{hashlib.sha256(n.encode()).hexdigest()}  {n}\n" for n in ("a.jar", "b.jar")))
    verify_jars(folder, sums)
    if wrong == "missing":
        (folder / "b.jar").unlink()
    else:
        (folder / {"changed": "b.jar", "extra": "c.jar"}[wrong]).write_bytes(b"evil")
    with pytest.raises(ChecksumMismatch, match=r"c\.jar" if wrong == "extra" else r"b\.jar"):
        verify_jars(folder, sums)
