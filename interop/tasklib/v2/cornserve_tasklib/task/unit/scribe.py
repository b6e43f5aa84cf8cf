"""Writes down what it is told."""

from typing import Any, ClassVar

from cornserve.task.base import TaskInput, TaskOutput, UnitTask


class ScribeInput(TaskInput):
    """What to write, and the version of the class that asks for it."""

    text: str
    asked_by: int = 0


class ScribeOutput(TaskOutput):
    """What the executor received, and the version of the class that the call was recorded with."""

    recorded_by: int
    received: dict[str, Any] = {}


class ScribeTask(UnitTask[ScribeInput, ScribeOutput]):
    """A unit task whose fields all reach the executor."""

    version: ClassVar[int] = 2

    model_id: str = "quill"
    tone: str = "plain"

    def make_record_output(self, task_input: ScribeInput) -> ScribeOutput:
        return ScribeOutput(recorded_by=self.version)
