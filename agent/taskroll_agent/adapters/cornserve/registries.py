"""Cornserve's task class registry and descriptor registry, as they are for one generation.

They are filled by Cornserve's own code, which so decides what a class must be like, in objects of their own. A flip
puts their contents into the two that the service looks at. Until then, and afterwards for calls that hold a lease on an
older generation, look-ups are led to the objects of the generation that the caller means (`hooks`).
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import import_module
from typing import Any, Final

from taskroll_agent.contracts import ImportProblem
from taskroll_agent.generation import Generation, LoadedDefinition
from taskroll_agent.leases import bound
from taskroll_agent.problems import rule_problem
from taskroll_agent.viewpoint import View

TASKS: Final = "cornserve.services.task_registry.task_class_registry"
DESCRIPTORS: Final = "cornserve.services.task_registry.descriptor_registry"

ATTACHMENT: Final = "cornserve.registries"

_TASK_FIELDS: Final = ("_unit_tasks", "_composite_tasks", "_pending")
_DESCRIPTOR_FIELDS: Final = ("registry", "default_registry", "_pending")


@dataclass(frozen=True)
class Registries:
    """A `TaskClassRegistry` and a `TaskExecutionDescriptorRegistry`."""

    tasks: Any
    descriptors: Any

    def task_class(self, name: str) -> type[Any] | None:
        """The unit or composite task of that name."""
        unit = self.tasks._unit_tasks.get(name)
        return unit[0] if unit is not None else self.tasks._composite_tasks.get(name)

    def class_of(self, loaded: LoadedDefinition) -> type[Any] | None:
        """The class that these registries have for a definition."""
        if loaded.key.kind == "TaskDefinition":
            return self.task_class(loaded.class_name)
        known: Mapping[str, Any] = self.descriptors.registry.get(loaded.task_class_name, {})
        return known.get(loaded.class_name)

    def put(self, other: "Registries") -> Callable[[], None]:
        """Take over the contents of another one; returns what undoes it."""
        former = [
            (mine, field, getattr(mine, field))
            for mine, fields in ((self.tasks, _TASK_FIELDS), (self.descriptors, _DESCRIPTOR_FIELDS))
            for field in fields
        ]

        def undo() -> None:
            for mine, field, value in former:
                setattr(mine, field, value)

        for field in _TASK_FIELDS:
            setattr(self.tasks, field, getattr(other.tasks, field))
        for field in _DESCRIPTOR_FIELDS:
            setattr(self.descriptors, field, getattr(other.descriptors, field))
        return undo


def live_registries() -> Registries:
    """The two that the service looks at."""
    return Registries(import_module(TASKS).TASK_CLASS_REGISTRY, import_module(DESCRIPTORS).DESCRIPTOR_REGISTRY)


def empty_registries() -> Registries:
    return Registries(
        import_module(TASKS).TaskClassRegistry(), import_module(DESCRIPTORS).TaskExecutionDescriptorRegistry()
    )


def registries_of(generation: Generation) -> tuple[Registries, list[ImportProblem]]:
    """The registries of a generation, made once for it, and why definitions cannot be in them."""
    found = generation.attachments.get(ATTACHMENT)
    if found is None:
        found = generation.attachments[ATTACHMENT] = _filled(generation)
    return found


def keep_stock(generation: Generation) -> None:
    """Before the first flip: keep what the service loaded by itself, for calls that run on it."""
    kept, live = empty_registries(), live_registries()
    kept.put(live)
    generation.attachments[ATTACHMENT] = (kept, [])


def choose_defaults(after: Registries, before: Registries) -> None:
    """Let each task keep the default descriptor that it has now, by name, where the new generation has it too."""
    for task, chosen in before.descriptors.default_registry.items():
        known: Mapping[str, Any] = before.descriptors.registry.get(task, {})
        name = next((name for name, cls in known.items() if cls is chosen), None)
        same = after.descriptors.registry.get(task, {}).get(name)
        if same is not None:
            after.descriptors.default_registry[task] = same


def _filled(generation: Generation) -> tuple[Registries, list[ImportProblem]]:
    registries, problems = empty_registries(), list[ImportProblem]()
    loaded = list(generation)
    # A descriptor that is marked as the default first: Cornserve takes the first one that it sees.
    descriptors = [one for one in loaded if one.key.kind == "ExecutionDescriptor"]
    descriptors.sort(key=lambda one: (not one.spec.get("isDefault", True), str(one.key)))
    steps = [(one, _add_task) for one in loaded if one.key.kind == "TaskDefinition"]
    steps += [(one, _add_descriptor) for one in descriptors]
    with bound(View(generation.module_set, None)):
        for one, add in steps:
            try:
                add(registries, one)
            except Exception as error:  # noqa: BLE001  whatever the platform raises is why it would not have the class
                problems.append(rule_problem(str(one.key), one.module, type(error).__name__, f"Cornserve: {error}"))
    return registries, problems


def _add_task(registries: Registries, loaded: LoadedDefinition) -> None:
    # In this view its `write_to_file_and_import` gives the generation's module, see `hooks`.
    registries.tasks._install_and_register_task(
        decoded_source="",
        module_name=loaded.module,
        task_class_name=loaded.class_name,
        is_unit_task=bool(loaded.spec.get("isUnitTask", True)),
    )


def _add_descriptor(registries: Registries, loaded: LoadedDefinition) -> None:
    base = import_module("cornserve.task_executors.descriptor.base").TaskExecutionDescriptor
    if not issubclass(loaded.cls, base):
        raise TypeError(f"class {loaded.class_name} is not a TaskExecutionDescriptor")
    task = registries.task_class(loaded.task_class_name)
    if task is None:
        raise LookupError(f"the release has no task {loaded.task_class_name}")
    known = registries.descriptors.default_registry
    registries.descriptors._register(task, loaded.cls, loaded.class_name, default=task.__name__ not in known)
