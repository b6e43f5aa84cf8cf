"""Counts what of former generations is alive, and finds out who holds it: names and counts, no contents.

It walks over the objects that the garbage collector tracks and asks it what each refers to, in small steps of Python,
so that other threads go on meanwhile; `gc.get_referrers` would keep them all waiting for one whole walk. The objects'
own code is never run: types are told by `type()`, names are read past any ``__getattribute__``.

A holder is named by the first thing with a name of its own that leads to something old: a module, a class, a function,
a coroutine, or an instance by its type. Containers, bound methods and what pydantic or `typing` make of a class lead on
to who has them.

Not seen: objects that the collector does not track, variables of running calls, and what only C code holds.
"""

import gc
import time
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping
from itertools import islice
from types import AsyncGeneratorType, CoroutineType, FunctionType, GeneratorType, ModuleType
from typing import Any, Final, Literal, NamedTuple, cast

from . import fronts
from .contracts import Census, Holder, OldGeneration, OldObjects
from .fronts import ModuleFront
from .generation import Generation
from .registry import Registry

SECONDS: Final = 5.0
"""Time for one census. One over 556,000 objects took 2.1 s; other threads waited 48 ms at most."""

MOST_OBJECTS: Final = 200
"""Lines per generation."""

MOST_HOLDERS: Final = 20
"""Holders named per line, and platform objects named."""

MOST_LEVELS: Final = 6
"""Containers in containers that lead from a holder to something old."""

ATTACHED_LEVELS: Final = 4
"""Referents of referents of a generation's attachments that are taken for a part of it."""

MOST_REACHED: Final = 10_000
"""Objects that are looked at from one live object of the platform."""

FREED: Final = 0
"""In place of a generation's number, which counts from 1: it is freed, only classes without code of its own stand."""

_CARRIERS: Final = frozenset(
    {"builtins", "types", "functools", "collections", "typing", "dataclasses", "inspect", "abc", "_abc", "enum"}
    | {"_functools", "_collections", "_typing", "weakref", "pydantic", "pydantic_core"}
)
"""Top-level modules whose instances say nothing by their type: who has them is looked for."""

Kind = Literal["instance", "class", "function", "module", "generation"]


class _What(NamedTuple):
    generation: int
    kind: Kind
    name: str


def take_census(
    registry: Registry,
    prepared: Iterable[Generation],
    platform: Iterable[object],
    *,
    process: str,
    seconds: float = SECONDS,
) -> Census:
    """Blocking, up to `seconds`: called in a thread."""
    started = time.perf_counter()
    # Before anything is made here: what the census itself refers to is in no list that it walks over.
    objects = gc.get_objects()
    leases = {info.number: info.leases for info in registry.generations()}
    active = registry.active
    spared = {active.generation.number, *(generation.number for generation in prepared)}
    old = {g.number: g for g in registry.standing() if g.number not in spared}
    walk = _Walk(objects, started + seconds, {id(platform), id(prepared), *_attached(old.values())})
    walk.find_old(old, _Homes(registry.standing()))
    walk.find_holders()
    freed = walk.described(FREED)
    return Census(
        process=process,
        epoch=active.epoch,
        generations=[
            *([OldGeneration(objects=freed)] if freed else []),
            *(
                OldGeneration(
                    number=number,
                    content_digest=generation.content_digest,
                    leases=leases.get(number, 0),
                    objects=walk.described(number),
                )
                for number, generation in old.items()
            ),
        ],
        platform=walk.reaching(platform),
        complete=walk.complete,
        seconds=time.perf_counter() - started,
    )


class _Walk:
    def __init__(self, objects: list[Any], deadline: float, ignored: set[int]) -> None:
        self.complete = True
        self._objects = objects
        self._deadline = deadline
        self._ignored = ignored
        self._old: dict[int, _What] = {}
        """Id → what it is, of everything that belongs to an old generation."""
        self._released: set[str] = set()
        """Names of the modules of the old generations."""
        self._modules: dict[int, str] = {}
        """Id of a module's dictionary → the module's name."""
        self._counts: Counter[_What] = Counter()
        self._holders: defaultdict[_What, defaultdict[str, set[int]]] = defaultdict(lambda: defaultdict(set))
        """What → name of holders → their ids."""

    def find_old(self, generations: Mapping[int, Generation], homes: "_Homes") -> None:
        """Note what belongs to these generations, and count their instances."""
        for number, generation in generations.items():
            self._released |= generation.module_set.names
            self._note(generation, _What(number, "generation", f"generation {number}"))
            for name, module in generation.module_set.table.items():
                self._note(module, _What(number, "module", name))
                self._old[id(vars(module))] = _What(number, "module", name)
        wanted = {FREED, *generations}
        classes: dict[int, _What] = {}
        for thing in self._steps():
            kind = cast("type[Any]", type(thing))
            if kind is FunctionType:
                number = homes.of_function(thing)
                if number is not None and number in wanted:
                    self._note(thing, _What(number, "function", f"{thing.__module__}.{thing.__qualname__}"))
            elif issubclass(kind, ModuleType):
                if kind is not ModuleFront:
                    own = ModuleType.__getattribute__(thing, "__dict__")
                    self._modules[id(own)] = str(own.get("__name__"))
            elif issubclass(kind, type):
                number = homes.of_class(thing)
                if number is not None and number in wanted:
                    classes[id(thing)] = _What(number, "instance", _class_name(thing))
                    self._note(thing, _What(number, "class", _class_name(thing)))
        for thing in self._steps():
            what = classes.get(id(type(thing)))  # pyright: ignore[reportUnknownArgumentType]
            if what is not None and id(thing) not in self._old:
                self._note(thing, what)

    def find_holders(self) -> None:
        """Name who refers to something old; containers lead on to who has them."""
        if not self._old:
            return
        wanted: Mapping[int, set[_What]] = {number: {what} for number, what in self._old.items()}
        for _ in range(MOST_LEVELS):
            carriers: defaultdict[int, set[_What]] = defaultdict(set)
            for thing in self._steps():
                hits = [number for number in map(id, gc.get_referents(thing)) if number in wanted]
                if not hits or self._is_inside(thing):
                    continue
                reached = set[_What]().union(*(wanted[number] for number in hits))
                instance = self._old.get(id(thing))
                if instance is not None:  # that it has its class, and is what it is, says nothing
                    reached = {what for what in reached if what.kind == "instance" and what != instance}
                name = self._name(thing)
                for what in reached:
                    if name is None:
                        carriers[id(thing)].add(what)
                    else:  # by id: a class refers to its base directly and by two tuples
                        self._holders[what][name].add(id(thing))
            if not carriers:
                return
            wanted = carriers

    def described(self, number: int) -> list[OldObjects]:
        """What of that generation is alive by itself: its instances, and what somebody outside holds."""
        found = [
            OldObjects(kind=what.kind, name=what.name, count=count, held_by=self._holders_of(what))
            for what, count in self._counts.most_common()
            if what.generation == number and (what.kind == "instance" or what in self._holders)
        ]
        self.complete = self.complete and len(found) <= MOST_OBJECTS
        return found[:MOST_OBJECTS]

    def reaching(self, platform: Iterable[object]) -> list[Holder]:
        """Which of the platform's live objects still reach something old."""
        found: Counter[str] = Counter()
        for live in platform:
            if self._reaches(live):
                found[_instance_name(live)] += 1
        return _most(found)

    def _holders_of(self, what: _What) -> list[Holder]:
        if what not in self._holders:
            return []
        return _most(Counter({name: len(ids) for name, ids in self._holders[what].items()}))

    def _reaches(self, live: object) -> bool:
        seen, border = {id(live)}, [live]
        while border and time.perf_counter() < self._deadline:
            thing = border.pop()
            if id(thing) in self._old:
                return True
            # Classes, functions and modules lead everywhere; an object's class is looked at itself.
            if issubclass(type(thing), (ModuleType, FunctionType, type)):
                continue
            for referent in gc.get_referents(thing):
                if id(referent) not in seen and len(seen) < MOST_REACHED:
                    seen.add(id(referent))
                    border.append(referent)
        self.complete = self.complete and not border
        return False

    def _note(self, thing: object, what: _What) -> None:
        self._old[id(thing)] = what
        self._counts[what] += 1

    def _steps(self) -> Iterator[Any]:
        """The objects, until time runs out."""
        for at, thing in enumerate(self._objects):
            if at % 1000 == 0 and time.perf_counter() > self._deadline:
                self.complete = False
                return
            yield thing

    def _is_inside(self, thing: object) -> bool:
        """Whether it is a part of an old generation, or of what the agent itself keeps of it."""
        if id(thing) in self._ignored:
            return True
        what = self._old.get(id(thing))
        if what is not None:
            return what.kind != "instance"
        module = _running_module(thing) or _module_of(type(thing))
        return module.startswith("taskroll_agent.") and not module.startswith("taskroll_agent.adapters.")

    def _name(self, thing: Any) -> str | None:
        """What a holder is called; None for what only leads on."""
        kind = cast("type[Any]", type(thing))
        if (module := self._modules.get(id(thing))) is not None:
            return f"module {module}"
        if kind is FunctionType:
            # Decorators put functions of other modules, under their names, before those of the release.
            return None if thing.__module__ in self._released else f"function {thing.__module__}.{thing.__qualname__}"
        if (running := _running_module(thing)) is not None:
            return f"{kind.__name__} {running}.{thing.__qualname__}"
        if issubclass(kind, ModuleType):
            return None if kind is ModuleFront else f"module {ModuleType.__getattribute__(thing, '__name__')}"
        if issubclass(kind, type):
            return f"class {_class_name(thing)}"
        return None if _module_of(kind).partition(".")[0] in _CARRIERS else _instance_name(thing)


def _attached(generations: Iterable[Generation]) -> Iterator[int]:
    """Ids of what a host has made for these generations: it goes with them, so it is not what holds them."""
    level: list[Any] = [generation.attachments for generation in generations]
    for _ in range(ATTACHED_LEVELS):
        level = [
            thing for thing in gc.get_referents(*level) if not issubclass(type(thing), (type, ModuleType, FunctionType))
        ]
        yield from map(id, level)


def _running_module(thing: Any) -> str | None:
    """Of a coroutine or generator, the module of its code."""
    prefix = {CoroutineType: "cr", GeneratorType: "gi", AsyncGeneratorType: "ag"}.get(cast("type[Any]", type(thing)))
    frame = None if prefix is None else getattr(thing, f"{prefix}_frame")
    return None if frame is None else str(frame.f_globals.get("__name__"))


class _Homes:
    """Of which generation a class is."""

    def __init__(self, standing: Iterable[Generation]) -> None:
        self._names: set[str] = set()
        self._by_class: dict[int, int] = {}
        self._by_globals: dict[int, int] = {}
        standing = list(standing)
        for generation in standing:
            self._names |= generation.module_set.names
        for generation in standing:
            for module in generation.module_set.table.values():
                self._by_globals[id(vars(module))] = generation.number
                self._enter(vars(module), generation.number)

    def of_function(self, function: FunctionType) -> int | None:
        return self._by_globals.get(id(function.__globals__))

    def of_class(self, cls: type) -> int | None:
        """None for a class that no release has; `FREED` for one whose generation does not stand any more."""
        if _module_of(cls) not in self._names:
            return None
        if (number := self._by_class.get(id(cls))) is not None:
            return number
        for value in _dictionary_of(cls).values():
            function = value.__func__ if type(value) in (staticmethod, classmethod) else value
            if type(function) is FunctionType and (number := self.of_function(function)) is not None:
                return number
        for base in type.__getattribute__(cls, "__bases__"):  # such as Model of Model[int]
            if (number := self.of_class(base)) is not None:
                return number
        ordinary = fronts.ordinary(_module_of(cls))
        if ordinary is not None and any(value is cls for value in list(vars(ordinary).values())):
            return None
        return None if "<locals>" in _class_name(cls) else FREED

    def _enter(self, names: Mapping[str, Any], number: int) -> None:
        """The classes of a module or class, and those within them."""
        for value in list(names.values()):
            if issubclass(type(value), type) and id(value) not in self._by_class and _module_of(value) in self._names:
                self._by_class[id(value)] = number
                self._enter(_dictionary_of(value), number)


def _dictionary_of(cls: type) -> Mapping[str, Any]:
    return type.__getattribute__(cls, "__dict__")


def _module_of(cls: type) -> str:
    try:
        module = type.__getattribute__(cls, "__module__")
    except AttributeError:
        return ""
    return module if type(module) is str else ""


def _class_name(cls: type) -> str:
    return f"{_module_of(cls)}.{type.__getattribute__(cls, '__qualname__')}"


def _instance_name(thing: object) -> str:
    return f"instance of {_class_name(type(thing))}"


def _most(counts: Counter[str]) -> list[Holder]:
    return [Holder(name=name, count=count) for name, count in islice(counts.most_common(), MOST_HOLDERS)]
