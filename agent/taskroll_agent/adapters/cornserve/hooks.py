"""What of Cornserve is wrapped, each as soon as its module has been imported. None of its code is changed."""

from collections.abc import Callable, Iterator
from functools import partial
from types import ModuleType
from typing import Any, Final

import wrapt

from . import places
from .apps import MANAGER
from .calls import CallMiddleware
from .equivalence import counterpart
from .registries import DESCRIPTORS, TASKS, live_registries, registries_of
from .service import CornserveProcess
from .view import generation_in_view

_Hook = Callable[[CornserveProcess, ModuleType], None]


def install() -> None:
    """Register the hooks; they run when the service imports the modules."""
    process = CornserveProcess()
    hooks: list[tuple[str, _Hook]] = [
        ("cornserve.services.task_registry.registry", _watch),
        (TASKS, _task_look_ups),
        (DESCRIPTORS, _descriptor_look_ups),
        ("cornserve.task.base", _comparisons),
        ("cornserve.task.base", _task_calls),
        (MANAGER, _apps),
        ("cornserve.services.gateway.session", _session_calls),
        ("cornserve.services.gateway.router", partial(_http_calls, gated=True)),
        ("cornserve.services.task_dispatcher.router", partial(_http_calls, gated=False)),
        *((module, partial(_holder, name=name, found=found)) for (module, name), found in places.HOLDERS.items()),
    ]
    for module, hook in hooks:
        wrapt.register_post_import_hook(partial(hook, process), module)


def _watch(process: CornserveProcess, module: ModuleType) -> None:
    async def watch_updates(wrapped: Any, _instance: Any, args: Any, kwargs: Any) -> None:
        await process.watch_updates(partial(wrapped, *args, **kwargs))

    async def get_task_instance(wrapped: Any, _instance: Any, args: Any, kwargs: Any) -> Any:
        # A task manager is told of its task as soon as it listens.
        await process.until_ready()
        # A task that went along with updates has other values than one that is read from its instance now: those of
        # fields that came and went, and former defaults. Cornserve would not find it to tear it down.
        return process.holders.living(await wrapped(*args, **kwargs))

    def handle_object(wrapped: Any, _instance: Any, args: Any, kwargs: Any) -> None:
        definition, kind, *_ = [*args, *kwargs.values()]
        process.handle_object(partial(wrapped, *args, **kwargs), definition, kind)

    wrapt.wrap_function_wrapper(module, "TaskRegistry.watch_updates", watch_updates)
    wrapt.wrap_function_wrapper(module, "TaskRegistry.get_task_instance", get_task_instance)
    wrapt.wrap_function_wrapper(module, "TaskRegistry._handle_object", handle_object)


_TASK_METHODS: Final = ("get_unit_task", "__contains__", "list_registered_unit_tasks")
_DESCRIPTOR_METHODS: Final = ("get", "list_registered_descriptors")


def _task_look_ups(process: CornserveProcess, module: ModuleType) -> None:
    for method in _TASK_METHODS:
        wrapt.wrap_function_wrapper(module, f"TaskClassRegistry.{method}", partial(_look_up, process, method, "tasks"))
    wrapt.wrap_function_wrapper(module, "write_to_file_and_import", _module_in_view)


def _descriptor_look_ups(process: CornserveProcess, module: ModuleType) -> None:
    name = "TaskExecutionDescriptorRegistry"
    for method in _DESCRIPTOR_METHODS:
        wrapper = partial(_look_up, process, method, "descriptors")
        wrapt.wrap_function_wrapper(module, f"{name}.{method}", wrapper)


def _look_up(
    process: CornserveProcess, method: str, which: str, wrapped: Any, instance: Any, args: Any, kwargs: Any
) -> Any:
    """Answer from the registries of the generation that the caller means."""
    generation = generation_in_view()
    if generation is None or generation is process.registry.active.generation:
        return wrapped(*args, **kwargs)
    if instance is not getattr(live_registries(), which):
        return wrapped(*args, **kwargs)
    registries, _ = registries_of(generation)
    return getattr(getattr(registries, which), method)(*args, **kwargs)


def _module_in_view(wrapped: Any, _instance: Any, args: Any, kwargs: Any) -> Any:
    """The generation's module, in place of one from a file, while the registries of a generation are filled."""
    generation = generation_in_view()
    module = None if generation is None else generation.modules.get(kwargs.get("module_name", ""))
    return wrapped(*args, **kwargs) if module is None else module


def _comparisons(process: CornserveProcess, module: ModuleType) -> None:
    def is_equivalent_to(wrapped: Any, instance: Any, args: Any, kwargs: Any) -> bool:
        other, *_ = [*args, *kwargs.values()]
        return wrapped(counterpart(other, instance, process.registry))

    task: Any = module.UnitTask
    plain_equal: Callable[[Any, Any], bool] = task.__eq__

    def equal(self: Any, other: Any) -> bool:
        return plain_equal(self, counterpart(other, self, process.registry))

    wrapt.wrap_function_wrapper(module, "UnitTask.is_equivalent_to", is_equivalent_to)
    task.__eq__ = equal


def _task_calls(_process: CornserveProcess, module: ModuleType) -> None:
    async def call(wrapped: Any, _instance: Any, args: Any, kwargs: Any) -> Any:
        try:
            return await wrapped(*args, **kwargs)
        finally:
            # A pooled connection lives on in the context of the call that opened it. What the call has recorded there
            # would stay as long, and with it the version of its tasks.
            context: Any = module.task_context.get(None)
            if context is not None:
                context.invocations, context.task_outputs = [], {}

    wrapt.wrap_function_wrapper(module, "Task.__call__", call)


def _noted(module: ModuleType, class_name: str, note: Callable[[Any], None]) -> None:
    def init(wrapped: Any, instance: Any, args: Any, kwargs: Any) -> None:
        wrapped(*args, **kwargs)
        note(instance)

    wrapt.wrap_function_wrapper(module, f"{class_name}.__init__", init)


def _apps(process: CornserveProcess, module: ModuleType) -> None:
    _noted(module, "AppManager", process.apps.note)


def _holder(
    process: CornserveProcess, module: ModuleType, *, name: str, found: Callable[[Any], Iterator[places.Place]]
) -> None:
    _noted(module, name, lambda instance: process.holders.note(instance, found))


def _session_calls(process: CornserveProcess, module: ModuleType) -> None:
    async def handle_request(wrapped: Any, _instance: Any, args: Any, kwargs: Any) -> Any:
        gate = process.gate
        if gate is None:
            return await wrapped(*args, **kwargs)
        # A session stays open; each of its requests is a call.
        async with gate.call():
            with process.registry.lease():
                return await wrapped(*args, **kwargs)

    wrapt.wrap_function_wrapper(module, "SessionManager.handle_request", handle_request)


def _http_calls(process: CornserveProcess, module: ModuleType, *, gated: bool) -> None:
    def create_app(wrapped: Any, _instance: Any, args: Any, kwargs: Any) -> Any:
        app = wrapped(*args, **kwargs)
        app.add_middleware(CallMiddleware, process=process, gated=gated)
        return app

    wrapt.wrap_function_wrapper(module, "create_app", create_app)
