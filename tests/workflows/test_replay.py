"""Updates that ran under earlier releases replay under this code: a change to the workflow must not break them."""

from pathlib import Path

import pytest
from temporalio import workflow
from temporalio.client import WorkflowHistory
from temporalio.contrib.pydantic import pydantic_data_converter
from temporalio.worker import Replayer

from workflows.task_update import TaskUpdateWorkflow

from .changed_workflows import WithoutStage

HISTORIES = sorted((Path(__file__).parent / "histories").rglob("*.json"))


def test_there_are_histories() -> None:
    assert {path.stem for path in HISTORIES} >= {"completed", "taken-back-after-verify", "cancelled-in-patch"}


@pytest.mark.parametrize("path", HISTORIES, ids=lambda path: f"{path.parent.name}-{path.stem}")
async def test_replays(path: Path) -> None:
    replayer = Replayer(workflows=[TaskUpdateWorkflow], data_converter=pydantic_data_converter)
    await replayer.replay_workflow(WorkflowHistory.from_json(f"replay/{path.stem}", path.read_text()))


async def test_change_of_the_order_is_noticed() -> None:
    """The replay can fail: with one step left out it does."""
    completed = next(path for path in HISTORIES if path.stem == "completed")
    replayer = Replayer(workflows=[WithoutStage], data_converter=pydantic_data_converter)
    with pytest.raises(workflow.NondeterminismError):
        await replayer.replay_workflow(WorkflowHistory.from_json("replay/changed", completed.read_text()))
