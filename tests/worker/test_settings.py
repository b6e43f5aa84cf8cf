"""``taskroll-worker``: a setting that is wrong is one line that names it, its value and what is possible."""

import asyncio
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (
            ["--log-level", "LOUD"],
            "log_level: Input should be 'DEBUG', 'INFO', 'WARNING', 'ERROR' or 'CRITICAL' (was 'LOUD')",
        ),
        (["--log-format", "xml"], "log_format: Input should be 'json' or 'console' (was 'xml')"),
        (["--reconcile-interval", "-1"], "reconcile_interval: Input should be greater than or equal to 0 (was '-1')"),
    ],
)
async def test_a_setting_that_is_wrong(flags: list[str], said: str) -> None:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "worker.main", *flags, "--temporal-address", "127.0.0.1:1"),
        cwd=ROOT,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    _, err = await process.communicate()
    assert (process.returncode, err.decode()) == (2, f"taskroll-worker: {said}\n")
