"""Where the services keep live unit tasks, and how another one is put in a task's place."""

import weakref
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any, Final


@dataclass(frozen=True)
class Place:
    """One place that holds one task."""

    name: str
    """For people: what holds it, and under which name."""
    task: Any
    put: Callable[[Any], None]


def _gateway(manager: Any) -> Iterator[Place]:
    for task_id, task in list(manager.tasks.items()):
        yield Place(f"gateway, task {task_id}", task, partial(manager.tasks.__setitem__, task_id))


def _sessions(manager: Any) -> Iterator[Place]:
    for session_id, session in list(manager.sessions.items()):
        for task_id, task in list(session.tasks.items()):
            yield Place(f"session {session_id}, task {task_id}", task, partial(session.tasks.__setitem__, task_id))


def _deployments(manager: Any) -> Iterator[Place]:
    for state in list(manager.task_states.values()):
        if state.deployment is not None:
            name = f"resource manager, {state.deployment.task_instance_name}"
            yield Place(name, state.deployment.task, partial(setattr, state.deployment, "task"))


def _dispatcher(dispatcher: Any) -> Iterator[Place]:
    for task_id, info in list(dispatcher.task_infos.items()):
        yield Place(f"dispatcher, task {task_id}", info.task, partial(setattr, info, "task"))


def _task_manager(manager: Any) -> Iterator[Place]:
    def put(task: Any) -> None:
        manager.task, manager.descriptor = task, task.execution_descriptor

    yield Place(f"task manager {manager.id}", manager.task, put)


HOLDERS: Final[dict[tuple[str, str], Callable[[Any], Iterator[Place]]]] = {
    ("cornserve.services.gateway.task_manager", "TaskManager"): _gateway,
    ("cornserve.services.gateway.session", "SessionManager"): _sessions,
    ("cornserve.services.resource_manager.manager", "ResourceManager"): _deployments,
    ("cornserve.services.task_dispatcher.dispatcher", "TaskDispatcher"): _dispatcher,
    ("cornserve.services.task_manager.manager", "TaskManager"): _task_manager,
}
"""Module and class of each object that holds tasks → its places."""


class Holders:
    """The objects of this process that hold tasks, noted as they are made."""

    def __init__(self) -> None:
        self._known: list[tuple[weakref.ref[Any], Callable[[Any], Iterator[Place]]]] = []

    def note(self, holder: Any, places: Callable[[Any], Iterator[Place]]) -> None:
        self._known.append((weakref.ref(holder), places))

    def living(self, task: Any) -> Any:
        """The task that lives here under the id of this one; else this one."""
        same = (place.task for place in self.places() if place.task.id == task.id)
        return next((other for other in same if type(other) is type(task)), task)

    def places(self) -> Iterator[Place]:
        """Every place that holds a task now."""
        for reference, places in self._known:
            holder = reference()
            if holder is not None:
                yield from places(holder)
