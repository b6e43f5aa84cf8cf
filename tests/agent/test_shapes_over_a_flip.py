"""What task modules keep by their shape (registries, members, pickles), and what becomes of it when another version of
them is prepared, dropped or flipped to."""

import copy
import enum
import pickle
import sys
import types
import typing
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from taskroll_agent import LoadFailed, Registry
from taskroll_agent.census import take_census
from taskroll_agent.loading import Loading
from tests.agent.sources import make_revisions

Sources = dict[str, str]


class Process:
    """A registry that runs one version, and makes the next one."""

    def __init__(self, root: str) -> None:
        self.registry = Registry()
        self.root = root

    def flip(self, sources: Sources) -> None:
        epoch = self.registry.active.epoch + 1
        generation = Loading(make_revisions(sources)).run()
        self.registry.activate(generation, epoch=epoch, release=f"r{epoch}", request_id="q")

    def get(self, name: str) -> Any:
        return self.registry.get(name)


@pytest.fixture
def process(root: str) -> Iterator[Process]:
    made = Process(root)
    yield made
    made.registry.close()


def task(root: str, version: int, body: str = "", before: str = "", bases: str = "") -> Sources:
    source = f"{before}\nclass Task{bases}:\n    version = {version}\n    {body or 'pass'}\n"
    return {f"{root}.m.Task": source}


@pytest.mark.parametrize(
    ("base", "use"),
    [
        ("class Base:\n    known = {}\n    def __init_subclass__(cls, **more):\n"
         "        super().__init_subclass__(**more)\n        Base.known[cls.__name__] = cls\n", "(Base)"),
        ("known = {}\ndef register(cls):\n    known[cls.__name__] = cls\n    return cls\n"
         "class Base:\n    known = known\n", "register"),
        ("class Meta(type):\n    known = {}\n    def __new__(m, name, bases, space):\n"
         "        made = super().__new__(m, name, bases, space)\n        m.known[name] = made\n        return made\n"
         "class Base(metaclass=Meta):\n    known = Meta.known\n", "(Base)"),
    ],
    ids=["__init_subclass__", "decorator", "metaclass"],
)  # fmt: skip
def test_a_registry_within_the_release_belongs_to_its_generation(process: Process, base: str, use: str) -> None:
    root = process.root

    def library(version: int) -> Sources:
        names = "Base, register" if use == "register" else "Base"
        before = f"from {root}.base import {names}\n" + ("@register" if use == "register" else "")
        bases = use if use != "register" else ""
        return {f"{root}.base.Base": base} | task(root, version, before=before, bases=bases)

    process.flip(library(1))
    old = process.get("Base")
    process.flip(library(2))
    new = process.get("Base")
    assert (old.known["Task"].version, new.known["Task"].version) == (1, 2)
    assert new.known["Task"] is process.get("Task")


@pytest.fixture
def outside() -> Iterator[Any]:
    """An ordinary module of the process, with bases that know their subclasses."""
    module: Any = types.ModuleType("outside_of_release")
    source = """
class ByName:
    known = {}
    def __init_subclass__(cls):
        ByName.known[cls.__name__] = cls
class Each:
    known = []
    def __init_subclass__(cls):
        Each.known.append(cls)
class Once:
    known = {}
    def __init_subclass__(cls):
        if cls.__name__ in Once.known:
            raise ValueError(f"{cls.__name__} is registered already")
        Once.known[cls.__name__] = cls
"""
    exec(source, vars(module))
    sys.modules[module.__name__] = module
    yield module
    del sys.modules[module.__name__]


def over(root: str, version: int, base: str) -> Sources:
    return task(root, version, before=f"from outside_of_release import {base}", bases=f"({base})")


def test_a_registry_outside_that_refuses_a_second_class_of_a_name_is_a_problem_of_prepare(
    process: Process, outside: Any
) -> None:
    process.flip(over(process.root, 1, "Once"))
    with pytest.raises(LoadFailed) as failed:
        process.flip(over(process.root, 2, "Once"))
    (problem,) = failed.value.problems
    assert (problem.definition, problem.error) == ("TaskDefinition/task", "ValueError")
    assert problem.message.startswith(f"{process.root}.m, line 2:")
    assert process.get("Task").version == 1


def test_a_registry_outside_has_a_class_from_prepare_on(process: Process, outside: Any) -> None:
    """The limit of the README: what a module does to the process it does when it is loaded, flipped to or not."""
    process.flip(over(process.root, 1, "ByName"))
    Loading(make_revisions(over(process.root, 2, "ByName"))).run()
    assert outside.ByName.known["Task"].version == 2
    assert process.get("Task").version == 1


def test_a_registry_outside_that_keeps_old_classes_is_named_by_the_census(process: Process, outside: Any) -> None:
    process.flip(over(process.root, 1, "Each"))
    process.flip(over(process.root, 2, "Each"))
    assert [cls.version for cls in outside.Each.known] == [1, 2]
    (old,) = take_census(process.registry, [], [], process="p", seconds=120.0).generations
    (line,) = [line for line in old.objects if line.kind == "class"]
    assert line.name == f"{process.root}.m.Task"
    assert [holder.name for holder in line.held_by] == ["class outside_of_release.Each"]


JOB = """
    def __init__(self, name): self.name = name
    def __eq__(self, other): return self.name == other.name
"""


def job(root: str, version: int) -> Sources:
    return task(root, version, body=JOB.strip())


def test_a_pickle_becomes_an_instance_of_the_class_of_whoever_loads_it(process: Process) -> None:
    process.flip(job(process.root, 1))
    old = process.get("Task")("x")
    made_before = pickle.dumps(old)
    with process.registry.lease():
        process.flip(job(process.root, 2))
        assert pickle.loads(made_before).version == 1
        made_under_lease = pickle.dumps(old)
    for made in (made_before, made_under_lease):
        loaded = pickle.loads(made)
        assert (loaded.version, loaded.name) == (2, "x")


@pytest.mark.parametrize(
    "what", [lambda cls: cls("x"), lambda cls: cls, lambda cls: [cls("x")]], ids=["instance", "class", "in a list"]
)
def test_pickling_something_old_without_a_lease_is_refused(process: Process, what: Callable[[Any], object]) -> None:
    process.flip(job(process.root, 1))
    old = what(process.get("Task"))
    process.flip(job(process.root, 2))
    with pytest.raises(pickle.PicklingError, match=rf"'{process.root}\.m\.Task'>: it's not the same object"):
        pickle.dumps(old)


def test_a_copy_of_an_old_instance_stays_old(process: Process) -> None:
    process.flip(job(process.root, 1))
    old = process.get("Task")("x")
    process.flip(job(process.root, 2))
    assert [made(old).version for made in (copy.copy, copy.deepcopy)] == [1, 1]


def test_members_and_instances_of_two_generations_are_not_the_same(process: Process) -> None:
    before = """
import enum
from pydantic import BaseModel
class Plain(enum.Enum):
    RED = 1
class Text(enum.StrEnum):
    RED = "red"
class Part(BaseModel):
    number: int = 1
class Whole(BaseModel):
    part: Part
"""
    process.flip(task(process.root, 1, before=before))
    old = process.registry.active.generation.modules[f"{process.root}.m"]
    process.flip(task(process.root, 2, before=before))
    new = process.registry.active.generation.modules[f"{process.root}.m"]
    assert old.Plain.RED != new.Plain.RED
    assert new.Plain(old.Plain.RED.value) is new.Plain.RED, "by value it goes over"
    assert old.Text.RED == new.Text.RED
    assert isinstance(new.Text.RED, enum.StrEnum)
    with pytest.raises(ValueError, match="instance of Part"):
        new.Whole(part=old.Part())
    assert new.Whole(part=old.Part().model_dump()).part.number == 1


def test_annotations_of_an_old_class_are_looked_up_under_its_lease(process: Process) -> None:
    before = "from __future__ import annotations\nclass Part: pass"
    process.flip(task(process.root, 1, body="part: Part", before=before))
    old_module = process.registry.active.generation.modules[f"{process.root}.m"]
    with process.registry.lease() as generation:
        process.flip(task(process.root, 2, body="part: Part", before=before))
        assert typing.get_type_hints(generation.get("Task"))["part"] is old_module.Part
    new_module = process.registry.active.generation.modules[f"{process.root}.m"]
    assert typing.get_type_hints(old_module.Task)["part"] is new_module.Part, "the limit of the README: sys.modules"


def test_state_of_a_module_starts_anew_with_each_generation_also_when_it_goes_back(process: Process) -> None:
    body = "add = classmethod(lambda cls: seen.append(1) or len(seen))"
    for version in (1, 2, 1):
        process.flip(task(process.root, version, body=body, before="seen = []"))
        assert [process.get("Task").add(), process.get("Task").add()] == [1, 2]


LATE = """
    def ways(self):
        import importlib
        from importlib import import_module
        from . import other
        from .other import Other
        name = ".".join([__package__, "other"])
        return {other.Other.version, Other.version, import_module(name).Other.version,
                importlib.import_module(".other", __package__).Other.version, __import__(name).other.Other.version}
"""


def test_every_late_import_of_an_old_instance_finds_its_own_generation(process: Process) -> None:
    def library(version: int) -> Sources:
        other = {f"{process.root}.other.Other": f"class Other:\n    version = {version}\n"}
        return task(process.root, version, body=LATE.strip()) | other

    process.flip(library(1))
    old = process.get("Task")()
    process.flip(library(2))
    assert (old.ways(), process.get("Task")().ways()) == ({1}, {2})
