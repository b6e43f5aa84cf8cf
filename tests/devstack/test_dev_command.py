"""`taskroll dev`: what a person sees, and what a script can rely on."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from starter.cli.dev import app
from starter.cli.exit_codes import ExitCode
from taskroll.devstack import StackInfo

ROOT = Path(__file__).parents[2]


def _dev(*arguments: str, folder: Path) -> Result:
    return CliRunner().invoke(app, list(arguments), env={"TASKROLL_DEV_DIR": str(folder)})


def test_up_status_down(tmp_path: Path) -> None:
    folder = tmp_path / "dev"
    absent = _dev("status", folder=folder)
    assert (absent.exit_code, "does not exist" in absent.stdout) == (ExitCode.UNREACHABLE, True)

    first = _dev("up", folder=folder)
    assert first.exit_code == 0, first.stderr
    try:
        shown = _dev("status", "-o", "json", folder=folder)
        assert shown.exit_code == 0
        info = StackInfo.model_validate(json.loads(shown.stdout)["info"])
        assert info.ui_url in first.stdout
        # The answer is a shell script, nothing else.
        script = f"{first.stdout}\necho $KUBECONFIG $TEMPORAL_ADDRESS"
        assert subprocess.check_output(["/bin/sh", "-c", script], text=True).split() == [
            str(info.kubeconfig),
            info.temporal_address,
        ]
        # So that worker, deploy tool and services can be started in that shell.
        for name in ("TASKROLL_NAMESPACE", "TASKROLL_AGENT_TOKEN", "TASKROLL_AGENT_KUBE_TOKEN_FILE"):
            assert f"export {name}=" in first.stdout
        second = _dev("up", folder=folder)
        assert (second.exit_code, second.stdout) == (0, first.stdout)
        assert "runs already" in second.stderr
        table = _dev("status", folder=folder).stdout
        assert all(f"{part.name} {part.version}: pid {part.pid}" in table for part in info.components.values())
    finally:
        down = _dev("down", folder=folder)
    assert (down.exit_code, down.stdout) == (0, "")
    assert _dev("status", folder=folder).exit_code == ExitCode.UNREACHABLE
    again = _dev("down", "--delete-data", folder=folder)
    assert again.exit_code == 0
    assert not folder.exists()


def test_what_prevents_a_start_is_said_without_a_traceback(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TASKROLL_TEMPORAL_BIN", "/nowhere/temporal")
    result = _dev("up", folder=tmp_path)
    assert (result.exit_code, result.stdout) == (ExitCode.UNREACHABLE, "")
    assert "/nowhere/temporal --version does not run" in result.stderr


@pytest.mark.parametrize(
    ("folder", "because"), [("file", "File exists"), ("file/in", "Not a directory"), ("/proc/x", "No such file")]
)
def test_a_data_folder_that_cannot_be_made(tmp_path: Path, folder: str, because: str) -> None:
    (tmp_path / "file").touch()
    result = _dev("up", folder=tmp_path / folder)
    assert (result.exit_code, result.stdout) == (ExitCode.BAD_INPUT, "")
    assert result.stderr.startswith(f"error: --data-dir or TASKROLL_DEV_DIR: data folder '{tmp_path / folder}' ")
    assert because in result.stderr
    assert result.stderr.count("\n") == 1
    assert _dev("down", "--delete-data", folder=tmp_path / folder).exit_code == 0


def test_a_namespace_that_is_none(tmp_path: Path) -> None:
    result = _dev("up", "--namespace", "Bad NS", folder=tmp_path)
    assert (result.exit_code, result.stdout) == (ExitCode.BAD_INPUT, "")
    assert result.stderr.startswith("error: namespace 'Bad NS' (--namespace or TASKROLL_NAMESPACE) is no Kubernetes")


def test_importing_the_command_brings_nothing_heavy() -> None:
    heavy = {"temporalio", "kubernetes", "pydantic", "httpx"}
    code = f"import sys, starter.cli.dev; print(*sorted({heavy} & set(sys.modules)))"
    printed = subprocess.check_output(
        [sys.executable, "-c", code], text=True, cwd=ROOT, env=os.environ | {"PYTHONPATH": str(ROOT)}
    )
    assert printed.strip() == ""
