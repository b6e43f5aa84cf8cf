"""The gateway's apps.

An app's module has task classes in its globals, may inherit from them, and has tasks in its `Config`. So it is not
patched: its source runs once more, as at its registration, with the names of the release meaning the new generation.
Its tasks then get the ids and values of those in whose place they come. Calls in flight keep the module that they
started with.
"""

import asyncio
import weakref
from collections.abc import Iterator
from dataclasses import replace
from importlib import import_module
from typing import Any, Final

from taskroll_agent import fronts
from taskroll_agent.generation import Generation

from .conversion import give_values

MANAGER: Final = "cornserve.services.gateway.app.manager"
ATTACHMENT: Final = "cornserve.apps"


class Apps:
    """The apps of the gateway that runs in this process, if one does."""

    def __init__(self) -> None:
        self._manager: weakref.ref[Any] | None = None

    def note(self, manager: Any) -> None:
        self._manager = weakref.ref(manager)

    def all(self) -> dict[str, Any]:
        """App id → its `AppDefinition`: the dictionary that the gateway uses."""
        manager = None if self._manager is None else self._manager()
        return {} if manager is None else manager.apps

    def class_names(self, app_id: str) -> frozenset[str]:
        """Names of all classes that the app's module and tasks have, those that they inherit from among them."""
        app = self.all().get(app_id)
        if app is None:
            return frozenset()
        known: dict[str, Any] = app.module.__dict__
        tasks: dict[str, Any] = app.components.config_cls.tasks
        classes: set[Any] = {value for value in known.values() if isinstance(value, type)}
        classes.update(task.__class__ for task in _all_tasks(tasks.values()))
        return frozenset(base.__name__ for cls in classes for base in cls.__mro__)

    async def prepare(self, generation: Generation) -> list[tuple[str, Exception]]:
        """Make all apps anew for a generation, in a thread, and keep them with it; (app id, error) where that fails."""
        return await asyncio.to_thread(self._prepare, generation)

    def _prepare(self, generation: Generation) -> list[tuple[str, Exception]]:
        failed: list[tuple[str, Exception]] = []
        made: dict[str, tuple[str, Any]] = {}
        for app_id, app in list(self.all().items()):
            try:
                made[app_id] = (app.source_code, made_anew(app, generation))
            except Exception as error:  # noqa: BLE001  an app's source may raise anything
                failed.append((app_id, error))
        generation.attachments[ATTACHMENT] = made
        return failed

    def made_for(self, generation: Generation) -> list[tuple[str, Any]]:
        """(app id, new definition) of what `prepare` made."""
        made: dict[str, tuple[str, Any]] = generation.attachments.get(ATTACHMENT, {})
        return [(app_id, definition) for app_id, (_, definition) in made.items()]

    def for_flip(self, generation: Generation) -> Iterator[tuple[str, Any]]:
        """(app id, new definition) of each app; those that came since `prepare`, or without one, are made now."""
        made: dict[str, tuple[str, Any]] = generation.attachments.pop(ATTACHMENT, {})
        for app_id, app in list(self.all().items()):
            source, definition = made.get(app_id, (None, None))
            yield app_id, definition if source == app.source_code else made_anew(app, generation)


def made_anew(app: Any, generation: Generation) -> Any:
    """An `AppDefinition` with the same id and source, on the classes of a generation.

    Raises:
        NotConvertible: where a task's values are none for its new class.
        Exception: whatever the app's source raises, or Cornserve's check of it.
    """
    manager = import_module(MANAGER)
    with fronts.loading(generation.module_set):
        module = manager.load_module_from_source(app.source_code, app.app_id)
        components = manager.validate_app_module(module)
        former: dict[str, Any] = app.components.config_cls.tasks
        for name, task in components.config_cls.tasks.items():
            if name in former and type(former[name]).__name__ == type(task).__name__:
                give_values(task, former[name])
        tasks: list[Any] = []
        for task in manager.discover_unit_tasks(components.config_cls.tasks.values()):
            if not any(known.is_equivalent_to(task) for known in tasks):
                tasks.append(task)
    return replace(app, module=module, components=components, tasks=tasks)


def _all_tasks(tasks: Any) -> Iterator[Any]:
    for task in tasks:
        yield task
        yield from _all_tasks(getattr(task, name) for name in task.subtask_attr_names)
