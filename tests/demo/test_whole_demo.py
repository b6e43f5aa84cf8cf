"""``make demo``, as it is run by somebody who has just cloned the repository; on a stack of its own."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from examples.child_processes import ROOT
from examples.demo.report import DemoReport

COMMAND = [sys.executable, "-m", "examples.demo"]
PATIENCE = 400

NUMBER_OR_NULL = {"type": ["number", "null"]}
SCHEMA: dict[str, Any] = {
    "type": "object",
    "required": ["services", "updates"],
    "properties": {
        "services": {
            "type": "array",
            "minItems": 3,
            "items": {
                "type": "object",
                "required": ["name", "replicas"],
                "properties": {"name": {"type": "string"}, "replicas": {"type": "integer", "minimum": 1}},
            },
        },
        "updates": {
            "type": "array",
            "minItems": 5,
            "items": {
                "type": "object",
                "required": [
                    "request_id",
                    "outcome",
                    "epoch",
                    "replicas",
                    "phases",
                    "mixed_version_window_ms",
                    "requests",
                    "restored_byte_for_byte",
                ],
                "properties": {
                    "request_id": {"type": "string"},
                    "outcome": {"enum": ["completed", "rolled_back", "rejected", "no_change", "needs_operator"]},
                    "epoch": {"type": "integer", "minimum": 1},
                    "replicas": {"type": "integer"},
                    "phases": {
                        "type": "array",
                        "minItems": 1,
                        "items": {
                            "type": "object",
                            "required": ["name", "started", "seconds"],
                            "properties": {
                                "name": {"type": "string"},
                                "started": {"type": "string"},
                                "seconds": {"type": "number", "minimum": 0},
                            },
                        },
                    },
                    "mixed_version_window_ms": NUMBER_OR_NULL,
                    "requests": {
                        "type": "object",
                        "required": ["by_version", "failed"],
                        "properties": {
                            "by_version": {"type": "object", "additionalProperties": {"type": "integer"}},
                            "failed": {"const": 0},
                        },
                    },
                    "restored_byte_for_byte": {"type": ["boolean", "null"]},
                },
            },
        },
    },
}
"""What the report has to hold, in words of its own: the model's schema would agree with itself."""


@pytest.fixture(scope="module")
def shown(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Path]:
    """What the demo wrote, and its folder."""
    folder = tmp_path_factory.mktemp("demo") / "demo"
    ended = subprocess.run(
        [*COMMAND, f"--folder={folder}"],
        cwd=ROOT,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    assert ended.returncode == 0, ended.stdout[-5000:]
    return ended.stdout, folder


@pytest.fixture(scope="module")
def report(shown: tuple[str, Path]) -> dict[str, Any]:
    return json.loads((shown[1] / "report.json").read_text())


@pytest.fixture(scope="module")
def updates(report: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {update["request_id"]: update for update in report["updates"]}


def test_report_is_of_the_promised_form(report: dict[str, Any]) -> None:
    jsonschema.validate(report, SCHEMA)
    jsonschema.validate(report, DemoReport.model_json_schema())


def test_at_least_three_services_with_eight_replicas(report: dict[str, Any]) -> None:
    assert len(report["services"]) >= 3
    assert sum(service["replicas"] for service in report["services"]) >= 8


def test_updates_end_as_told_and_releases_count_up(updates: dict[str, dict[str, Any]]) -> None:
    assert {name: (update["outcome"], update["epoch"]) for name, update in updates.items()} == {
        "sketchlib-1": ("completed", 1),
        "sketchlib-2": ("completed", 2),
        "sketchlib-3": ("rolled_back", 2),
        "sketchlib-4": ("rolled_back", 4),
        "back-to-1": ("completed", 5),
    }


def test_every_replica_attests_each_release(report: dict[str, Any]) -> None:
    replicas = sum(service["replicas"] for service in report["services"])
    assert [update["replicas"] for update in report["updates"]] == [replicas] * len(report["updates"])


def test_what_was_taken_back_is_restored_byte_for_byte(updates: dict[str, dict[str, Any]]) -> None:
    assert {name: update["restored_byte_for_byte"] for name, update in updates.items()} == {
        "sketchlib-1": None,
        "sketchlib-2": None,
        "sketchlib-3": True,
        "sketchlib-4": True,
        "back-to-1": None,
    }


def test_no_request_failed_and_none_was_answered_by_two_versions(report: dict[str, Any]) -> None:
    assert report["load"]["failed"] == report["load"]["mixed"] == 0
    assert report["load"]["answers"] > 1000
    assert all(update["requests"]["failed"] == 0 for update in report["updates"])


def test_load_goes_on_while_versions_change(updates: dict[str, dict[str, Any]]) -> None:
    assert updates["sketchlib-2"]["requests"]["by_version"].keys() == {"1", "2"}
    assert updates["sketchlib-3"]["requests"]["by_version"].keys() == {"2"}
    assert updates["sketchlib-4"]["requests"]["by_version"].keys() == {"2", "4"}
    assert updates["back-to-1"]["requests"]["by_version"].keys() == {"1", "2"}


def test_the_dead_replica_was_between_patch_and_verify(updates: dict[str, dict[str, Any]]) -> None:
    names = [phase["name"] for phase in updates["sketchlib-4"]["phases"]]
    assert names.index("patch") < names.index("commit") < names.index("verify") < names.index("revert-release")
    assert "restore-definitions" in names


def test_histories_stay_short(updates: dict[str, dict[str, Any]]) -> None:
    completed = [update for update in updates.values() if update["outcome"] == "completed"]
    assert max(update["history_events"] for update in completed) <= 80


def test_the_demo_shows_approval_wait_and_version_matrix(shown: tuple[str, Path]) -> None:
    text, _ = shown
    before, _, after = text.partition("$ taskroll approve sketchlib-2")
    assert after
    assert "$ taskroll diff sketchlib-2" in before
    assert "+++ b/sketchlib/task/unit/encoder.py" in before.partition("$ taskroll diff sketchlib-2")[2]
    assert "the check names what it waits for: instance EncoderTask encoder-of-app-7" in text
    chapter = text[text.index("3. Version 2") : text.index("4. Version 3")]
    releases = [line for line in chapter.splitlines() if "all 9 replicas of 3 services run it" in line]
    assert ["release 1" in line for line in releases] == [True, False]
    assert "release 2" in releases[-1]


def test_nothing_is_left_running(shown: tuple[str, Path]) -> None:
    assert processes_of(shown[1]) == []


@pytest.fixture
def interrupted(tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    process = subprocess.Popen(
        [*COMMAND, f"--folder={tmp_path / 'demo'}"],
        cwd=ROOT,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    yield process
    process.kill()
    process.wait()


@pytest.mark.parametrize(
    "moment", ["is ready", "$ taskroll deploy examples/tasklib/v1", "answers under load"], ids=["stack", "cli", "load"]
)
def test_ctrl_c_ends_everything(interrupted: subprocess.Popen[str], tmp_path: Path, moment: str) -> None:
    assert interrupted.stdout is not None
    for line in interrupted.stdout:
        if moment in line:
            break
    os.kill(interrupted.pid, signal.SIGINT)
    rest = interrupted.stdout.read()
    assert interrupted.wait(PATIENCE) == 130
    assert "Traceback" not in rest
    assert "interrupted; everything has ended" in rest
    assert processes_of(tmp_path / "demo") == []


def processes_of(folder: Path) -> list[str]:
    """Command lines that name the folder, those of this test and its demo aside."""
    found: list[str] = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and int(entry.name) != os.getpid():
            try:
                command = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
            except OSError:
                continue
            if f"{folder}/" in command:
                found.append(command)
    return found
