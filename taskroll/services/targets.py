"""The replicas of one service, as the targets of one call that a strategy makes."""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

from .answers import ReplicaAnswer
from .configuration import ServiceConfig
from .deadline import Deadline
from .replica import Replica
from .settle import for_each

T = TypeVar("T")

Answers = list[tuple[Replica, ReplicaAnswer[T]]]
OnDone = Callable[[object, object], None]
"""Told (replica, answer) as each one comes."""


@dataclass(frozen=True)
class Targets:
    """Whom a strategy calls, by when, and who is told of each answer."""

    service: ServiceConfig
    replicas: Sequence[Replica]
    """Of the service; at least one."""
    deadline: Deadline
    on_done: OnDone | None = None

    @property
    def namespace(self) -> str:
        """Of the replicas."""
        return self.replicas[0].namespace

    async def each(self, call: Callable[[Replica, Deadline], Awaitable[ReplicaAnswer[T]]]) -> Answers[T]:
        """Make the call to all of them side by side; see `settle.for_each`."""
        return await for_each(self.replicas, call, self.deadline, self.on_done)

    def all(self, answer: ReplicaAnswer[T]) -> Answers[T]:
        """The same answer for each: for what concerns the service as a whole."""
        return [self.one(replica, answer) for replica in self.replicas]

    def one(self, replica: Replica, answer: ReplicaAnswer[T]) -> tuple[Replica, ReplicaAnswer[T]]:
        """This answer of that replica, for a strategy that asks one after the other."""
        if self.on_done is not None:
            self.on_done(replica, answer)
        return replica, answer
