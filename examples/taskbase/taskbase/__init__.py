"""Base classes of the example's tasks: what a platform such as Cornserve brings, in its smallest form.

A unit task does one thing and may run in another service; a composite task calls unit tasks; an execution descriptor
says how a unit task is run. Fields are a task's configuration, the same for all its calls; the payload of a call is a
plain dictionary.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, ClassVar, Generic, TypeVar

from pydantic import BaseModel, ConfigDict

__all__ = ["CompositeTask", "ExecutionDescriptor", "Task", "UnitTask", "run_units_with"]

Payload = dict[str, Any]


class Task(BaseModel, ABC):
    """What both kinds have in common.

    A field that the class does not have is an error, so that a configuration for another version is noticed.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    version: ClassVar[int]
    """Version of the class, which each answer names: so a caller sees when versions are mixed."""

    @abstractmethod
    def invoke(self, payload: Payload) -> Payload:
        """Answer one call."""


class UnitTask(Task):
    """A task that calls no other task. Subclasses write `run`; callers use `invoke`."""

    @abstractmethod
    def run(self, payload: Payload) -> Payload:
        """Do the work of one call, in the process that runs the task."""

    def invoke(self, payload: Payload) -> Payload:
        """Run here, or where `run_units_with` sends it. The answer carries ``version``."""
        return _runner.get()(self, payload)


class CompositeTask(Task):
    """A task whose `invoke` calls unit tasks."""


TaskT = TypeVar("TaskT", bound=UnitTask)


class ExecutionDescriptor(BaseModel, ABC, Generic[TaskT]):
    """How a unit task is run: ``class EncoderDescriptor(ExecutionDescriptor[EncoderTask])``."""

    task: TaskT

    @abstractmethod
    def executor_name(self) -> str:
        """Name of the executor for this task's configuration."""

    @abstractmethod
    def arguments(self) -> list[str]:
        """Command line of the executor."""


def _run_here(task: UnitTask, payload: Payload) -> Payload:
    return {**task.run(payload), "version": task.version}


_runner: ContextVar[Callable[[UnitTask, Payload], Payload]] = ContextVar("taskbase_runner", default=_run_here)


@contextmanager
def run_units_with(runner: Callable[[UnitTask, Payload], Payload]) -> Iterator[None]:
    """Have unit tasks run by `runner` instead of in place: a gateway sends them to the service that executes them.

    The runner returns what `UnitTask.invoke` answered over there, its ``version`` included.
    """
    token = _runner.set(runner)
    try:
        yield
    finally:
        _runner.reset(token)
