"""The agent's host in a Cornserve service: registries, live tasks and apps change with the generation or not at all."""

import asyncio
import logging
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

from taskroll_agent.contracts import ImportProblem
from taskroll_agent.errors import AgentError
from taskroll_agent.generation import Generation
from taskroll_agent.leases import bound
from taskroll_agent.problems import rule_problem
from taskroll_agent.registry import Active, Registry
from taskroll_agent.viewpoint import View

from .apps import Apps
from .conversion import NotConvertible, converted
from .places import Holders, Place
from .registries import Registries, choose_defaults, keep_stock, live_registries, registries_of

_log = logging.getLogger(__name__)


class CornserveHost:
    """Implements `taskroll_agent.Host`."""

    def __init__(self, registry: Registry, holders: Holders, apps: Apps) -> None:
        self._registry = registry
        self._holders = holders
        self._apps = apps

    async def check(self, after: Generation, before: Generation) -> Sequence[ImportProblem]:
        """Fill the generation's registries, convert every live task for the trial, and make the apps anew."""
        # In a thread: Cornserve's own code looks through each class, as it does when it registers one.
        registries, problems = await asyncio.to_thread(registries_of, after)
        if problems:
            return problems
        choose_defaults(registries, live_registries())
        problems = list[ImportProblem]()
        deployed: list[Any] = []
        with bound(View(after.module_set, None)):
            for place in self._holders.places():
                try:
                    deployed.append(_in_new_class(place, registries))
                except NotConvertible as error:
                    problems += _place_problems(place, after, before, error)
        failed = await self._apps.prepare(after)
        for app_id, error in failed:
            problems += _app_problems(app_id, self._apps.all().get(app_id), after, error)
        with bound(View(after.module_set, None)):
            problems += self._not_deployed(after, deployed)
        return problems

    def flip(self, after: Active, before: Active) -> None:
        """Put everything on the new generation; see `taskroll_agent.Host`."""
        if after.generation is before.generation:
            return
        started = time.perf_counter()
        registries, problems = registries_of(after.generation)
        if problems:
            raise AgentError(problems[0].message)
        live = live_registries()
        if before.epoch == 0:
            keep_stock(before.generation)
        choose_defaults(registries, live)
        places = list(self._holders.places())
        tasks = [_in_new_class(place, registries) for place in places]
        apps = list(self._apps.for_flip(after.generation))
        # All that can fail was done above, and nothing has changed yet.
        undo: list[Callable[[], None]] = []
        try:
            undo.append(live.put(registries))
            for place, task in zip(places, tasks, strict=True):
                undo.append(_undo_place(place))
                place.put(task)
            known = self._apps.all()
            for app_id, app in apps:
                undo.append(_undo_app(known, app_id))
                known[app_id] = app
        except BaseException:
            for step in reversed(undo):
                step()
            raise
        _log.info(
            "Cornserve is on epoch %d: %d live tasks and %d apps in %.2f ms",
            after.epoch,
            len(tasks),
            len(apps),
            (time.perf_counter() - started) * 1000,
            extra={"epoch": after.epoch, "request_id": after.request_id},
        )

    def live_classes(self) -> Mapping[str, type | None]:
        """What the service's registries have for each definition."""
        live = live_registries()
        return {str(loaded.key): live.class_of(loaded) for loaded in self._registry.active.generation}

    def live_objects(self) -> Iterable[object]:
        """Registries, live tasks, and the apps' modules and classes."""
        live = live_registries()
        yield live.tasks
        yield live.descriptors
        for place in self._holders.places():
            yield place.task
        for app in self._apps.all().values():
            yield from (app, app.module, app.components.config_cls)

    def _not_deployed(self, after: Generation, deployed: list[Any]) -> Iterator[ImportProblem]:
        for app_id, app in self._apps.made_for(after):
            for task in app.tasks:
                if not any(one.is_equivalent_to(task) for one in deployed):
                    loaded = _definition_of(type(task).__name__, after)
                    message = (
                        f"app {app_id} would use a {type(task).__name__} that is not deployed: the new classes give it "
                        "other values than those that it runs with; unregister the app first"
                    )
                    yield rule_problem(*loaded, "NotDeployed", message)


def _in_new_class(place: Place, registries: Registries) -> Any:
    name = type(place.task).__name__
    cls = registries.task_class(name)
    if cls is None:
        raise NotConvertible([(name, "the release has no task of this name")])
    return converted(place.task, cls)


def _undo_place(place: Place) -> Callable[[], None]:
    return lambda: place.put(place.task)


def _undo_app(known: dict[str, Any], app_id: str) -> Callable[[], None]:
    former = known[app_id]
    return lambda: known.__setitem__(app_id, former)


def _place_problems(
    place: Place, after: Generation, before: Generation, error: NotConvertible
) -> Iterator[ImportProblem]:
    name = type(place.task).__name__
    where = _definition_of(name, after, before)
    for field, why in error.fields:
        yield rule_problem(*where, "InstanceInvalid", f"{place.name}: {name}, {field}: {why}")


def _app_problems(app_id: str, app: Any, after: Generation, error: Exception) -> Iterator[ImportProblem]:
    names = [] if app is None else [type(task).__name__ for task in app.components.config_cls.tasks.values()]
    where = _definition_of(names[0] if names else "", after)
    if isinstance(error, NotConvertible):
        for field, why in error.fields:
            yield rule_problem(*where, "InstanceInvalid", f"app {app_id}: {field}: {why}")
    else:
        yield rule_problem(*where, "AppInvalid", f"app {app_id}: its source does not run: {type(error).__name__}")


def _definition_of(class_name: str, *generations: Generation) -> tuple[str, str]:
    """Key and module of the definition of a class; where none has it, its name stands for the key."""
    for generation in generations:
        for loaded in generation:
            if loaded.class_name == class_name:
                return str(loaded.key), loaded.module
    return class_name, ""
