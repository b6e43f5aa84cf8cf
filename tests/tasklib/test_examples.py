"""The example's task library says what its README says."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from taskroll.tasklib.changes import describe_change
from taskroll.tasklib.closure import changed_modules, closure_of_change, sources_of
from taskroll.tasklib.discovery import TaskPackage, discover
from taskroll.tasklib.import_graph import import_graph
from taskroll.tasklib.problems import errors

EXAMPLES = Path(__file__).parents[2] / "examples"


def package(version: str) -> TaskPackage:
    return discover(EXAMPLES / "tasklib" / version / "sketchlib")


@pytest.mark.parametrize("version", ["v1", "v2", "v3-broken"])
def test_each_version_has_the_same_definitions_and_no_problem_in_its_text(version: str) -> None:
    found = package(version)
    assert [str(definition.key) for definition in found.definitions] == [
        "TaskDefinition/encoder-task",
        "TaskDefinition/ranker-task",
        "TaskDefinition/writer-task",
        "TaskDefinition/sketch-task",
        "ExecutionDescriptor/encoder-descriptor",
    ]
    assert errors(found.problems) == []
    assert all(definition.module.startswith("sketchlib.task") for definition in found.definitions)


def test_version_2_changes_two_definitions_and_touches_a_third() -> None:
    before, after = package("v1").contents(), package("v2").contents()
    changed = changed_modules(before, after)
    assert changed == {"sketchlib.task.unit.encoder", "sketchlib.task.composite.sketch"}
    graphs = [import_graph(sources_of(side)) for side in (before, after)]
    assert closure_of_change(graphs[0], graphs[1], changed) == {
        *changed,
        "sketchlib.task_executors.descriptor.encoder",
    }
    summary = describe_change(before[0], after[0])
    assert [(f.name, f.change) for f in summary.classes[0].fields] == [("unit", "added")]


CALL = """
import json
from sketchlib.task.composite.sketch import SketchTask
from sketchlib.task.unit.encoder import EncoderTask
from sketchlib.task_executors.descriptor.encoder import EncoderDescriptor
from taskbase import run_units_with
answer = SketchTask().invoke({"text": "the quick brown fox"})
with run_units_with(lambda task, payload: {**task.run(payload), "version": 7}):
    sent = SketchTask().invoke({"text": "the quick brown fox"})
print(json.dumps([answer, sent["versions"], EncoderDescriptor(task=EncoderTask()).arguments()]))
"""


def run(version: str) -> subprocess.CompletedProcess[str]:
    paths = [str(EXAMPLES / "taskbase"), str(EXAMPLES / "tasklib" / version)]
    code = f"import sys; sys.path[:0] = {paths!r}\n{CALL}"
    return subprocess.run([sys.executable, "-B", "-c", code], capture_output=True, text=True)


@pytest.mark.parametrize(("version", "number"), [("v1", 1), ("v2", 2)])
def test_answers_name_the_versions_that_computed_them(version: str, number: int) -> None:
    answer, sent, arguments = json.loads(run(version).stdout)
    assert answer["versions"] == {"composite": number, "encoder": number, "writer": 1}
    assert sent == {"composite": number, "encoder": 7, "writer": 7}
    assert arguments == ["--dimensions=4"] + (["--unit=letter"] if number == 2 else [])
    if number == 2:
        assert answer["line"] in (EXAMPLES / "tasklib/README.md").read_text()


def test_version_3_shows_its_fault_only_when_it_is_imported() -> None:
    done = run("v3-broken")
    assert done.returncode == 1
    assert "ImportError: cannot import name 'EncodingPlan'" in done.stderr
