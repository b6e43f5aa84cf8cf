"""Updates that ran under earlier releases replay under this code: a change to the workflow must not break them."""

from pathlib import Path

import pytest
from temporalio import workflow
from temporalio.client import WorkflowHistory
from temporalio.contrib.pydantic import pydantic_data_converter
from temporalio.worker import Replayer

from workflows.reconcile import TaskReconcileWorkflow
from workflows.task_recovery import TaskRecoveryWorkflow
from workflows.task_update import TaskUpdateWorkflow

from .changed_workflows import FindsNobody, WithoutAssessment, WithoutStage

WORKFLOWS = [TaskUpdateWorkflow, TaskRecoveryWorkflow, TaskReconcileWorkflow]

HISTORIES = sorted((Path(__file__).parent / "histories").rglob("*.json"))


def test_there_are_histories() -> None:
    assert {path.stem for path in HISTORIES} >= {
        "completed",
        "taken-back-after-verify",
        "cancelled-in-patch",
        "reconcile-finds-a-dead-update",
        "recovery-takes-back",
        "recovery-completes",
        "superseded",
    }


@pytest.mark.parametrize("path", HISTORIES, ids=lambda path: f"{path.parent.name}-{path.stem}")
async def test_replays(path: Path) -> None:
    replayer = Replayer(workflows=WORKFLOWS, data_converter=pydantic_data_converter)
    await replayer.replay_workflow(WorkflowHistory.from_json(f"replay/{path.stem}", path.read_text()))


@pytest.mark.parametrize(
    ("history", "changed"),
    [
        ("completed", WithoutStage),
        ("recovery-takes-back", WithoutAssessment),
        ("recovery-completes", WithoutAssessment),
        ("reconcile-finds-a-dead-update", FindsNobody),
    ],
)
async def test_changed_workflow_is_noticed(history: str, changed: type) -> None:
    """The replay can fail: with one step left out it does."""
    recorded = next(path for path in HISTORIES if path.stem == history)
    replayer = Replayer(workflows=[changed], data_converter=pydantic_data_converter)
    with pytest.raises(workflow.NondeterminismError):
        await replayer.replay_workflow(WorkflowHistory.from_json("replay/changed", recorded.read_text()))
