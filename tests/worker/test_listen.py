"""``taskroll-worker --listen``: an address that cannot be had is named before anything is connected."""

import asyncio
import socket
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


async def start_worker(listen: str) -> tuple[int | None, str]:
    """Run the worker against a Temporal that is not there; return its exit status and what it said."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "worker.main", "--listen", listen, "--temporal-address", "127.0.0.1:1"),
        cwd=ROOT,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    _, said = await process.communicate()
    return process.returncode, said.decode()


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
async def test_a_port_that_is_taken(host: str) -> None:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.create_server((host, 0), family=family) as taken:
        listen = f"[{host}]:{taken.getsockname()[1]}" if ":" in host else f"{host}:{taken.getsockname()[1]}"
        code, said = await start_worker(listen)
    assert (code, said.count("\n")) == (2, 1), said
    assert said.startswith(f"taskroll-worker: listen: {listen!r} cannot be listened on: ")
    assert "already in use" in said
    assert "--listen HOST:PORT" in said


@pytest.mark.parametrize("listen", ["192.0.2.1:9090", "no-such-host.invalid:9090", "9090"])
async def test_an_address_that_is_not_one_of_this_machine(listen: str) -> None:
    code, said = await start_worker(listen)
    assert (code, said.count("\n")) == (2, 1), said
    assert said.startswith(f"taskroll-worker: listen: {listen!r} ")
