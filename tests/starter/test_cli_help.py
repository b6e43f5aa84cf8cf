"""Help and usage: at once, without loading what only commands need."""

import os
import subprocess
import sys

import pytest

from .place import ROOT

# `dev` has tests of its own.
COMMANDS = (
    "deploy",
    "rollback",
    "adopt",
    "prune",
    "status",
    "watch",
    "diff",
    "versions",
    "doctor",
    "list",
    "history",
    "serve",
)
DECISIONS = ("approve", "reject", "abort", "resume")
HEAVY = ("temporalio", "kubernetes", "griffe", "pydantic", "fastapi", "yaml")


def taskroll(*arguments: str, **environ: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "starter.cli", *arguments],
        cwd=ROOT,
        env={**os.environ, "COLUMNS": "100", **environ},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


def test_help_loads_nothing_heavy() -> None:
    shown = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", "starter.cli", "--help"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    loaded = {line.rpartition("|")[2].strip().partition(".")[0] for line in shown.stderr.splitlines()}
    assert "typer" in loaded
    assert not loaded & set(HEAVY)


def test_help_names_all_commands() -> None:
    shown = taskroll("--help").stdout
    assert all(f"│ {name} " in shown for name in [*COMMANDS, *DECISIONS, "dev"])


@pytest.mark.parametrize("command", [*COMMANDS, *DECISIONS])
def test_each_command_has_help_with_the_common_options(command: str) -> None:
    shown = taskroll(command, "--help")
    assert shown.returncode == 0
    assert all(option in shown.stdout for option in ("--namespace", "--task-queue", "--temporal-address", "--context"))
    assert "TASKROLL_NAMESPACE" in shown.stdout


def test_version() -> None:
    from importlib.metadata import version

    assert taskroll("--version").stdout.split() == ["taskroll", version("taskroll")]


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["deploi"], "deploi"),
        (["status"], "REQUEST_ID"),
        (["status", "a", "b"], "b"),
        (["deploy", "x", "--drain", "maybe"], "'--drain': 'maybe' is not one of 'wait'"),
        (["deploy", "x", "--approval", "maybe"], "'--approval': 'maybe' is not one of 'none'"),
        (["deploy", "x", "--timeout", "soon"], "'--timeout': Input should be a valid number"),
        (["deploy", "x", "--timeout", "soon"], "(was 'soon')"),
        (["watch", "x", "--timeout", "-1"], "greater than or equal to 0.001 (was '-1')"),
        (["deploy", "x", "-o", "xml"], "'xml'"),
        (["rollback", "--to", "first"], "(was 'first')"),
        (["rollback", "--request-id", ""], "'--request-id': is empty"),
        (["deploy", "x", "--dry-run", "--request-id", ""], "'--request-id': is empty"),
    ],
)
def test_wrong_usage_is_named_on_stderr(arguments: list[str], named: str) -> None:
    ran = taskroll(*arguments, COLUMNS="200")
    assert ran.returncode == 2
    assert named in ran.stderr
    assert ran.stdout == ""


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["status", "a", "-n", "Upper"], "'Upper'"),
        (["-n", "Upper", "status", "a"], "'Upper'"),
        (["-n", "fine", "status", "a", "--namespace", "Upper"], "'Upper'"),
        (["deploy", "/nonexistent"], "/nonexistent"),
        (["deploy", "x", "--drain-timeout", "0"], "--drain-timeout: "),
        (["deploy", "x", "--approval-timeout", "-1"], "--approval-timeout: "),
        (["abort", "x", "--reason", "y" * 5_000], "at most 500 characters"),
    ],
)
def test_a_wrong_value_ends_before_anything_is_asked(arguments: list[str], named: str) -> None:
    ran = taskroll(*arguments, TEMPORAL_ADDRESS="127.0.0.1:1", KUBECONFIG="/nonexistent")
    assert (ran.returncode, ran.stdout) == (2, "")
    assert named in ran.stderr
    assert len(ran.stderr) < 500
    assert "Traceback" not in ran.stderr


def test_debug_shows_the_traceback() -> None:
    ran = taskroll("status", "a", "-n", "Upper", "--debug")
    assert ran.returncode == 2
    assert "Traceback" in ran.stderr
    assert "error: namespace 'Upper'" in ran.stderr


def test_errors_have_no_colour_where_no_terminal_reads_them() -> None:
    assert "\x1b" not in taskroll("status", "a", "-n", "Upper").stderr
