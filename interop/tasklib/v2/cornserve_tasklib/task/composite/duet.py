"""Two scribes, one after the other."""

from typing import Any, ClassVar

from cornserve.task.base import Task, TaskInput, TaskOutput

from cornserve_tasklib.task.unit.scribe import ScribeInput, ScribeTask


class DuetInput(TaskInput):
    """What both write."""

    text: str


class DuetOutput(TaskOutput):
    """What the executors received, and the versions of the classes in the gateway."""

    version: int
    recorded_by: list[int]
    received: list[dict[str, Any]]


class DuetTask(Task[DuetInput, DuetOutput]):
    """A composite task of one unit task, used twice."""

    version: ClassVar[int] = 2

    def post_init(self) -> None:
        self.scribe = ScribeTask()

    def invoke(self, task_input: DuetInput) -> DuetOutput:
        written = [
            self.scribe.invoke(ScribeInput(text=f"{voice}: {task_input.text}", asked_by=self.version))
            for voice in ("first", "second")
        ]
        return DuetOutput(
            version=self.version,
            recorded_by=[one.recorded_by for one in written],
            received=[one.received for one in written],
        )
