"""Shapes that task modules have in the wild, each loaded into a generation."""

import dataclasses
import enum
import inspect
import pickle
import sys
import traceback
import typing
from collections.abc import Callable, Mapping

import pytest

from taskroll_agent import Generation, Registry

Load = Callable[[Mapping[str, str]], Generation]


def test_modules_import_each_other_in_every_way(load: Load, root: str) -> None:
    generation = load(
        {
            f"{root}.task.unit.llm.LLM": "class LLM:\n    version = 7\n",
            f"{root}.task.composite.mllm.MLLM": f"""
                import importlib
                import {root}.task.unit.llm
                import {root}.task.unit.llm as aliased
                from {root}.task.unit import llm
                from ..unit import llm as relative_module
                from ..unit.llm import LLM, LLM as Other
                from ..unit.llm import *
                from ... import task

                class MLLM:
                    ways = [{root}.task.unit.llm.LLM, aliased.LLM, llm.LLM, relative_module.LLM, LLM, Other,
                            task.unit.llm.LLM]

                    def late(self):
                        from ..unit.llm import LLM
                        import {root}.task.unit.llm
                        return [LLM, {root}.task.unit.llm.LLM, __import__("{root}.task.unit.llm").task.unit.llm.LLM,
                                importlib.import_module("{root}.task.unit.llm").LLM,
                                importlib.import_module("..unit.llm", __package__).LLM]

                    def late_import_module(self):
                        from importlib import import_module
                        return import_module("{root}.task.unit.llm").LLM
            """,
        }
    )
    llm, mllm = generation.get("LLM"), generation.get("MLLM")
    assert all(way is llm for way in mllm.ways)
    assert all(way is llm for way in mllm().late())
    assert mllm().late_import_module() is llm
    assert llm.version == 7


def test_packages_that_no_definition_provides_are_made_and_those_provided_are_used(load: Load, root: str) -> None:
    generation = load(
        {
            f"{root}.a.b.c.Deep": "class Deep: pass",
            f"{root}.given.Base": "from . import inner\nclass Base:\n    child = inner.Child\n",
            f"{root}.given.inner.Child": "from .. import given\nclass Child:\n    parent = given\n",
        }
    )
    assert sorted(generation.modules) == [
        root, f"{root}.a", f"{root}.a.b", f"{root}.a.b.c", f"{root}.given", f"{root}.given.inner",
    ]  # fmt: skip
    assert generation.modules[f"{root}.a"].__path__ == []
    assert generation.modules[f"{root}.given"].__package__ == f"{root}.given"
    assert generation.get("Base").child.parent is generation.modules[f"{root}.given"]


def test_import_cycles_between_modules(load: Load, root: str) -> None:
    generation = load(
        {
            f"{root}.a.A": f"import {root}.b\nclass A:\n    def other(self): return {root}.b.B\n",
            f"{root}.b.B": f"from {root} import a\nclass B:\n    def other(self): return a.A\n",
        }
    )
    assert generation.get("A")().other() is generation.get("B")
    assert generation.get("B")().other() is generation.get("A")


@pytest.mark.parametrize(("early", "late"), [("a", "b"), ("b", "a")])
@pytest.mark.parametrize("use", ["from {root}.{late} import Late", "import {root}.{late}\nLate = {root}.{late}.Late"])
def test_import_cycles_that_work_from_one_end_only(load: Load, root: str, early: str, late: str, use: str) -> None:
    generation = load(
        {
            f"{root}.{late}.Late": f"import {root}.{early}\nclass Late: pass\n",
            f"{root}.{early}.Early": use.format(root=root, late=late) + "\nclass Early(Late): pass\n",
            f"{root}.c.Other": "class Other: pass\n",
        }
    )
    assert issubclass(generation.get("Early"), generation.get("Late"))


def test_type_checking_cycle_with_pydantic_and_future_annotations(load: Load, root: str) -> None:
    generation = load(
        {
            f"{root}.a.A": f"""
                from __future__ import annotations
                from typing import TYPE_CHECKING
                from pydantic import BaseModel
                if TYPE_CHECKING:
                    from {root}.b import B

                class Later(BaseModel):
                    value: Defined | None = None

                class A:
                    def make(self) -> B: ...

                class Defined(BaseModel):
                    number: int = 3
            """,
            f"{root}.b.B": f"""
                from __future__ import annotations
                from pydantic import BaseModel
                from {root}.a import A, Defined

                class B(BaseModel):
                    part: Defined
                    many: list[Defined] = []
            """,
        }
    )
    later = generation.modules[f"{root}.a"].Later
    assert later.__pydantic_complete__, "forward references are resolved while the names mean this generation"
    assert later(value={"number": 4}).value.number == 4
    assert generation.get("B")(part={"number": 5}).part.number == 5


def test_dataclasses_enums_generics_named_tuples_and_abstract_classes(load: Load, root: str) -> None:
    generation = load(
        {
            f"{root}.shapes.Task": """
                from __future__ import annotations
                import abc, dataclasses, enum
                from typing import ClassVar, Generic, NamedTuple, Optional, TypeVar, get_type_hints
                from pydantic import BaseModel

                In = TypeVar("In", bound=BaseModel)
                Out = TypeVar("Out")

                class Modality(enum.StrEnum):
                    IMAGE = enum.auto()

                class Point(NamedTuple):
                    x: int
                    next: Optional[Point] = None

                @dataclasses.dataclass(slots=True)
                class Config:
                    shared: ClassVar[int] = 1
                    modality: Modality = Modality.IMAGE
                    point: Point = dataclasses.field(default_factory=lambda: Point(1))

                class Base(abc.ABC, Generic[In, Out]):
                    @abc.abstractmethod
                    def run(self, value: In) -> Out: ...

                class Input(BaseModel):
                    modality: Modality

                class Task(Base[Input, Config]):
                    def run(self, value: Input) -> Config:
                        return Config(value.modality)

                hints_at_import = get_type_hints(Config)
            """,
        }
    )
    module, task = generation.modules[f"{root}.shapes"], generation.get("Task")
    assert task().run(module.Input(modality="image")).modality is module.Modality.IMAGE
    assert issubclass(module.Modality, enum.StrEnum)
    assert [field.name for field in dataclasses.fields(module.Config)] == ["modality", "point"], "not the ClassVar"
    assert module.hints_at_import["modality"] is module.Modality
    assert typing.get_type_hints(task.run)["value"] is module.Input


def test_two_classes_and_a_descriptor_in_one_module(load: Load, root: str) -> None:
    source = "class First: pass\nclass Second(First): pass\nclass Descriptor:\n    of = Second\n"
    generation = load({f"{root}.m.{name}": source for name in ("First", "Second", "Descriptor")})
    assert len(generation) == 3
    assert generation.get("Descriptor").of is generation.get("Second")
    assert issubclass(generation.get("Second"), generation.get("First"))


def test_module_level_state_belongs_to_its_generation(load: Load, root: str) -> None:
    source = {f"{root}.m.Counter": "seen = []\nclass Counter:\n    def add(self): seen.append(1); return len(seen)\n"}
    first, second = load(source), load(source)
    assert first.get("Counter")().add() == 1
    assert first.get("Counter")().add() == 2
    assert second.get("Counter")().add() == 1


def test_instances_of_the_current_generation_pickle(load: Load, root: str) -> None:
    generation = load(
        {
            f"{root}.m.Job": """
                import dataclasses
                @dataclasses.dataclass
                class Job:
                    name: str
                    class Inner: pass
            """
        }
    )
    registry = Registry()
    registry.activate(generation, epoch=1, release="r", request_id="q")
    job = generation.get("Job")("x")
    for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
        assert pickle.loads(pickle.dumps(job, protocol)) == job
    assert pickle.loads(pickle.dumps(generation.get("Job").Inner)) is generation.get("Job").Inner
    registry.close()


def test_instances_of_an_old_generation_pickle_under_its_lease_and_are_refused_without(load: Load, root: str) -> None:
    source = f"class Job: pass\n"  # noqa: F541
    old, new = load({f"{root}.m.Job": source}), load({f"{root}.m.Job": source + "# 2\n"})
    registry = Registry()
    registry.activate(old, epoch=1, release="r1", request_id="q1")
    job = old.get("Job")()
    with registry.lease():
        registry.activate(new, epoch=2, release="r2", request_id="q2")
        assert type(pickle.loads(pickle.dumps(job))) is old.get("Job")
    with pytest.raises(pickle.PicklingError, match="not the same object"):
        pickle.dumps(job)
    registry.close()


def test_tracebacks_and_inspect_show_the_source(load: Load, root: str) -> None:
    source = 'class Task:\n    def fail(self):\n        raise RuntimeError("here")  # marked line\n'
    generation = load({f"{root}.m.Task": source})
    registry = Registry()
    registry.activate(generation, epoch=1, release="r", request_id="q")
    task = generation.get("Task")
    with pytest.raises(RuntimeError) as caught:
        task().fail()
    shown = "".join(traceback.format_exception(caught.value))
    assert "# marked line" in shown
    assert "<taskroll sha256:" in shown
    assert f" {root}.m>" in shown
    assert inspect.getsource(task) == source
    assert inspect.getsource(task.fail).strip().startswith("def fail")
    assert inspect.getmodule(task) is sys.modules[f"{root}.m"]
    registry.close()


def test_future_imports_of_the_loader_do_not_leak_into_modules(load: Load, root: str) -> None:
    generation = load({f"{root}.m.Task": "class Task:\n    value: int = 1\n"})
    assert generation.get("Task").__annotations__ == {"value": int}


def test_source_in_another_encoding_and_with_a_byte_order_mark(root: str) -> None:
    import base64

    from taskroll_agent.contracts import DefinitionContent
    from taskroll_agent.loading import Loading, Revision

    def content(name: str, source: bytes) -> DefinitionContent:
        spec = {"moduleName": f"{root}.{name.lower()}", "taskClassName": name}
        spec["sourceCode"] = base64.b64encode(source).decode()
        return DefinitionContent(kind="TaskDefinition", name=name.lower(), spec=spec)

    contents = [
        content("Latin", "# -*- coding: latin-1 -*-\nclass Latin:\n    text = 'é'\n".encode("latin-1")),
        content("Marked", "\ufeffclass Marked:\n    text = 'ü'\n".encode()),
        content("Windows", b"class Windows:\r\n    text = 'x'\r\n"),
    ]
    generation = Loading({str(c.key): Revision(c.digest(), c) for c in contents}).run()
    assert [generation.get(name).text for name in ("Latin", "Marked", "Windows")] == ["é", "ü", "x"]


def test_a_chain_of_imports_far_deeper_than_real_libraries(load: Load, root: str) -> None:
    depth = 150
    sources = {
        f"{root}.m{n:03}.C{n}": f"from {root}.m{n + 1:03} import C{n + 1}\nclass C{n}(C{n + 1}): pass\n"
        for n in range(depth)
    }
    sources[f"{root}.m{depth:03}.C{depth}"] = f"class C{depth}:\n    end = True\n"
    assert load(sources).get("C0").end


def test_models_within_classes_are_completed_in_prepare(load: Load, root: str) -> None:
    """Else pydantic resolves their annotations at their first use, which may be after the next flip."""
    source = """
        from __future__ import annotations
        from pydantic import BaseModel
        class Task:
            class Input(BaseModel):
                part: Part
        Task.itself = Task
        class Part(BaseModel):
            x: int = 1
    """
    assert load({f"{root}.m.Task": source}).get("Task").Input.__pydantic_complete__


def test_a_lazy_value_of_a_module_is_not_asked_for_anything(load: Load, root: str) -> None:
    source = """
        class Lazy:
            @property
            def __class__(self):
                raise SystemExit
        class Meta(type):
            @property
            def __module__(cls):
                raise RuntimeError
        lazy = Lazy()
        Odd = Meta("Odd", (), {})
        class Task: pass
    """
    assert load({f"{root}.m.Task": source})
