"""``make bench`` in its smallest form: that it works, not how fast it is."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from examples.child_processes import ROOT


@pytest.mark.slow
def test_benchmarks_write_figures_and_tables(tmp_path: Path) -> None:
    ended = subprocess.run(
        [sys.executable, "-m", "benchmarks", "--quick", f"--folder={tmp_path / 'bench'}"],
        cwd=ROOT,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr[-3000:]
    figures = json.loads((tmp_path / "bench" / "figures.json").read_text())
    cost, mixed = figures["saga_cost"], figures["mixed_versions"]
    assert cost["saga_ms"]["median"] > 0
    assert cost["bare_ms"]["median"] > 0
    assert {"plan", "prepare", "patch", "commit", "verify"} <= cost["steps_ms"].keys()
    # Both sides do the same to the definitions and to the agents.
    assert cost["saga_requests"]["PUT taskdefinitions"] == cost["bare_requests"]["PUT taskdefinitions"]
    assert all(each["restarts_ms"]["median"] > each["saga_ms"]["median"] for each in mixed)
    assert "saga ÷ bare" in ended.stdout
