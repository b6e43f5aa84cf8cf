import base64
from pathlib import Path

import pytest

from taskroll.tasklib.discovery import TaskPackage, discover
from taskroll.tasklib.package_config import PackageConfig, TaskBases
from taskroll.tasklib.package_files import as_sent
from taskroll.tasklib.problems import errors
from taskroll.tasklib.source_facts import read_sources

from .conftest import MakePackage

BASE = "from base import Descriptor, Task, UnitTask\n"
# What is found, as "kind class" or, for a descriptor, "descriptor class task".
SITUATIONS: dict[str, tuple[dict[str, str], list[str]]] = {
    "direct": ({"lib/a.py": BASE + "class A(UnitTask): ..."}, ["unit A"]),
    "composite": ({"lib/a.py": BASE + "class A(Task): ..."}, ["composite A"]),
    "unit wins over composite": ({"lib/a.py": BASE + "class A(Task, UnitTask): ..."}, ["unit A"]),
    "under another name": ({"lib/a.py": "from base import UnitTask as U\nclass A(U): ..."}, ["unit A"]),
    "through the module": ({"lib/a.py": "import base\nclass A(base.UnitTask): ..."}, ["unit A"]),
    "through the renamed module": ({"lib/a.py": "import base as b\nclass A(b.UnitTask): ..."}, ["unit A"]),
    "generic": (
        {"lib/a.py": BASE + "class I: ...\nclass O: ...\nclass A(UnitTask[I, O]): ..."},
        ["unit A"],
    ),
    "generic over type variables, as abstract as can be": (
        {
            "lib/a.py": BASE + "from abc import ABC, abstractmethod\nfrom typing import Generic, TypeVar\n"
            "T = TypeVar('T')\nclass A(UnitTask[T], Generic[T], ABC):\n    @abstractmethod\n    def run(self): ...\n"
            "class B(A[int]): ..."
        },
        ["unit A", "unit B"],
    ),
    "leading underscore": ({"lib/a.py": BASE + "class _A(UnitTask): ...\nclass B(_A): ..."}, ["unit _A", "unit B"]),
    "through another module": (
        {"lib/a.py": BASE + "class A(UnitTask): ...", "lib/b.py": "from lib.a import A\nclass B(A): ..."},
        ["unit A", "unit B"],
    ),
    "relative import": (
        {"lib/x/a.py": BASE + "class A(UnitTask): ...", "lib/x/b.py": "from .a import A\nclass B(A): ..."},
        ["unit A", "unit B"],
    ),
    "relative import of a module, two packages up": (
        {
            "lib/__init__.py": "",
            "lib/x/__init__.py": "",
            "lib/x/a.py": BASE + "class A(UnitTask): ...",
            "lib/y/__init__.py": "",
            "lib/y/b.py": "from ..x import a\nclass B(a.A): ...",
        },
        ["unit A", "unit B"],
    ),
    "re-export of the package": (
        {
            "lib/__init__.py": "from .a import A as Public",
            "lib/a.py": BASE + "class A(UnitTask): ...",
            "lib/b.py": "from lib import Public\nclass B(Public): ...",
        },
        ["unit A", "unit B"],
    ),
    "assigned name": ({"lib/a.py": BASE + "Base = UnitTask\nclass A(Base): ..."}, ["unit A"]),
    "assigned subscript": ({"lib/a.py": BASE + "Base = UnitTask[int, str]\nclass A(Base): ..."}, ["unit A"]),
    "assigned in another module": (
        {"lib/a.py": BASE + "Base = UnitTask", "lib/b.py": "from lib.a import Base\nclass B(Base): ..."},
        ["unit B"],
    ),
    "star import of the bases, not installed": (
        {"lib/a.py": "from base import *\nclass A(UnitTask): ..."},
        ["unit A"],
    ),
    "star import through a module": (
        {"lib/a.py": "from base import *", "lib/b.py": "from lib.a import *\nclass B(UnitTask): ..."},
        ["unit B"],
    ),
    "star imports in a circle": (
        {"lib/a.py": "from lib.b import *\nclass A(Base): ...", "lib/b.py": "from lib.a import *"},
        [],
    ),
    "import in a try": (
        {
            "lib/a.py": "try:\n    from base import UnitTask\nexcept ImportError:\n    UnitTask = object\n"
            "class A(UnitTask): ..."
        },
        ["unit A"],
    ),
    "class in an if": ({"lib/a.py": BASE + "if True:\n    class A(UnitTask): ..."}, ["unit A"]),
    "decorated": ({"lib/a.py": BASE + "def d(c): return c\n@d\nclass A(UnitTask): ..."}, ["unit A"]),
    "metaclass and keywords": ({"lib/a.py": BASE + "class A(UnitTask, metaclass=type, x=1): ..."}, ["unit A"]),
    "in the package itself": ({"lib/__init__.py": BASE + "class A(UnitTask): ..."}, ["unit A"]),
    "classes inside of classes and functions are none": (
        {"lib/a.py": BASE + "class X:\n    class A(UnitTask): ...\ndef f():\n    class B(UnitTask): ..."},
        [],
    ),
    "generic proxies and aliases are none": (
        {"lib/a.py": BASE + "Proxy = UnitTask[int, str]\nclass A(UnitTask): ...\nAlias = A"},
        ["unit A"],
    ),
    "imported tasks belong to their module": (
        {"lib/a.py": BASE + "class A(UnitTask): ...", "lib/b.py": "from lib.a import A\nclass X: ..."},
        ["unit A"],
    ),
    "another class of the same name": (
        {"lib/a.py": "class UnitTask: ...\nclass A(UnitTask): ..."},
        [],
    ),
    "classes that derive from each other": ({"lib/a.py": "class A(B): ...\nclass B(A): ..."}, []),
    "names that stand for each other": ({"lib/a.py": "A = B\nB = A\nC = C\nclass D(A, C): ..."}, []),
    "a base that is computed": ({"lib/a.py": BASE + "def f(): return UnitTask\nclass A(f()): ..."}, []),
    "descriptor": (
        {
            "lib/a.py": BASE + "class A(UnitTask): ...",
            "lib/d.py": BASE + "from lib.a import A\nclass D(Descriptor[A]): ...",
        },
        ["unit A", "descriptor D A"],
    ),
    "descriptor of more arguments, task under another name": (
        {
            "lib/a.py": BASE + "class A(UnitTask): ...",
            "lib/d.py": BASE + "from lib.a import A as T\nclass D(Descriptor[T, int, str]): ...",
        },
        ["unit A", "descriptor D A"],
    ),
    "descriptor of a task by the module": (
        {
            "lib/a.py": BASE + "class A(UnitTask): ...",
            "lib/d.py": BASE + "from lib import a\nclass D(Descriptor[a.A]): ...",
        },
        ["unit A", "descriptor D A"],
    ),
    "descriptor with a forward reference": (
        {
            "lib/a.py": BASE + "class A(UnitTask): ...",
            "lib/d.py": BASE + "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from lib.a import A\n"
            "class D(Descriptor['A', int]): ...",
        },
        ["unit A", "descriptor D A"],
    ),
    "descriptor of a generic task": (
        {"lib/a.py": BASE + "class A(UnitTask[int]): ...\nclass D(Descriptor[A[int], int]): ..."},
        ["unit A", "descriptor D A"],
    ),
    "descriptor of a task that is not here": (
        {"lib/d.py": BASE + "from elsewhere.tasks import OtherTask\nclass D(Descriptor[OtherTask]): ..."},
        ["descriptor D OtherTask"],
    ),
    "descriptor derived from a descriptor": (
        {"lib/a.py": BASE + "class A(UnitTask): ...\nclass D(Descriptor[A]): ...\nclass E(D): ..."},
        ["unit A", "descriptor D A", "descriptor E A"],
    ),
    "descriptor derived from a generic one": (
        {
            "lib/a.py": BASE + "from typing import Generic, TypeVar\nX = TypeVar('X')\nT = TypeVar('T')\n"
            "class A(UnitTask): ...\n"
            "class G(Descriptor[T, X], Generic[X, T]): ...\n"
            "class D(G[int, A]): ..."
        },
        ["unit A", "descriptor D A"],
    ),
}


def found(package: TaskPackage) -> list[str]:
    kinds = {("TaskDefinition", True): "unit", ("TaskDefinition", False): "composite"}
    return [
        f"{kinds[d.kind, d.is_unit_task]} {d.class_name}"
        if d.kind == "TaskDefinition"
        else f"descriptor {d.class_name} {d.task_class_name}"
        for d in package.definitions
    ]


@pytest.fixture(scope="module", autouse=True)
def read_at_once() -> None:
    """One child process for the whole table: facts are kept by text."""
    read_sources(as_sent(text) for files, _ in SITUATIONS.values() for text in files.values())


@pytest.mark.parametrize("name", SITUATIONS)
def test_what_is_a_definition(make_package: MakePackage, name: str) -> None:
    files, expected = SITUATIONS[name]
    assert found(discover(make_package(files) / "lib")) == expected


def test_descriptors_without_a_task_are_said(make_package: MakePackage) -> None:
    folder = make_package(
        {
            "lib/a.py": BASE + "from typing import Generic, TypeVar\nfrom base import TaskT\nT = TypeVar('T')\n"
            "class A(UnitTask): ...\n"
            "class Bare(Descriptor): ...\n"
            "class Own(Descriptor[T], Generic[T]): ...\n"
            "class Imported(Descriptor[TaskT], Generic[TaskT]): ...\n"
            "class Forgotten(Descriptor[T]): ...\n"
        }
    )
    package = discover(folder / "lib")
    assert found(package) == ["unit A"]
    assert [(p.code, p.severity, p.line) for p in package.problems] == [
        ("descriptor-without-task", "error", 6),
        ("descriptor-without-task", "error", 9),
        ("descriptor-without-task", "warning", 7),
        ("descriptor-without-task", "warning", 8),
    ]


@pytest.mark.parametrize("imported", ["from base.core import Unit", "from base import UnitTask as Unit"])
@pytest.mark.parametrize("configured", ["base.core.Unit", "base.UnitTask"])
def test_installed_bases_are_known_by_each_of_their_paths(
    make_package: MakePackage, imported: str, configured: str
) -> None:
    folder = make_package(
        {
            "site/base/__init__.py": "from .core import Unit as UnitTask\nraise RuntimeError('imported')",
            "site/base/core.py": "class Unit: ...\nraise RuntimeError('imported')",
            "lib/a.py": f"{imported}\nclass A(Unit): ...",
        }
    )
    config = PackageConfig(bases=TaskBases(unit_task=(configured,)), search_paths=(str(folder / "site"),))
    assert found(discover(folder / "lib", config)) == ["unit A"]


def test_a_base_that_derives_from_the_base_elsewhere(make_package: MakePackage) -> None:
    folder = make_package(
        {
            "site/vendor/tasks.py": "from base import UnitTask\nclass VendorTask(UnitTask): ...",
            "lib/a.py": "from vendor.tasks import VendorTask\nclass A(VendorTask): ...",
        }
    )
    config = PackageConfig(bases=TaskBases(unit_task=("base.UnitTask",)), search_paths=(str(folder / "site"),))
    assert found(discover(folder / "lib", config)) == ["unit A"]


def test_the_bases_themselves_are_no_definitions(make_package: MakePackage) -> None:
    folder = make_package(
        {"base.py": "", "lib/base.py": "class Unit: ...", "lib/a.py": "from .base import Unit\nclass A(Unit): ..."}
    )
    config = PackageConfig(bases=TaskBases(unit_task=("lib.base.Unit",)))
    assert found(discover(folder / "lib", config)) == ["unit A"]


def test_contents_are_exactly_what_cornserve_writes(make_package: MakePackage) -> None:
    source = (
        BASE + 'class ATask(UnitTask):\n    """Does it.\n\n    More."""\n'
        "class ADescriptor(Descriptor[ATask]): ...\nclass Both(Task): ...\n"
    )
    folder = make_package({"lib/task/a.py": source})
    config = PackageConfig(
        bases=TaskBases(unit_task=("base.UnitTask",), composite_task=("base.Task",), descriptor=("base.Descriptor",)),
        labels={"team": "x"},
        annotations={"note": "y"},
    )
    task, composite, descriptor = discover(folder / "lib", config).definitions
    encoded = base64.b64encode(source.encode()).decode()
    assert task.content().model_dump() == {
        "kind": "TaskDefinition",
        "name": "a-task",
        "spec": {
            "taskClassName": "ATask",
            "moduleName": "lib.task.a",
            "sourceCode": encoded,
            "isUnitTask": True,
        },
        "metadata": {"labels": {"team": "x"}, "annotations": {"note": "y"}},
    }
    assert composite.content().spec == {**task.content().spec, "taskClassName": "Both", "isUnitTask": False}
    assert descriptor.content().spec == {
        "taskClassName": "ATask",
        "descriptorClassName": "ADescriptor",
        "moduleName": "lib.task.a",
        "sourceCode": encoded,
        "isDefault": True,
    }
    assert (task.summary, task.line, task.file) == ("Does it.", 2, folder / "lib/task/a.py")
    assert task.content().source().decode() == task.source


def test_a_library_like_cornserves(make_package: MakePackage) -> None:
    """Its folders, its base classes by default, none of it installed."""
    folder = make_package(
        {
            "pyproject.toml": "",
            "cs_lib/__init__.py": "",
            "cs_lib/task/__init__.py": "",
            "cs_lib/task/unit/__init__.py": "",
            "cs_lib/task/unit/llm.py": """
                from __future__ import annotations
                from typing import Generic
                from cornserve.task.base import InputT, OutputT, Stream, TaskInput, TaskOutput, UnitTask
                class Request(TaskInput): ...
                class Chunk(TaskOutput): ...
                class BaseLLMTask(UnitTask[InputT, OutputT], Generic[InputT, OutputT]): ...
                class LLMTask(BaseLLMTask[Request, Stream[Chunk]]): ...
            """,
            "cs_lib/task/composite/__init__.py": "",
            "cs_lib/task/composite/chat.py": """
                from cornserve.task.base import Task
                from cs_lib.task.unit.llm import Chunk, LLMTask, Request
                class ChatTask(Task[Request, Chunk]): ...
            """,
            "cs_lib/task_executors/descriptor/llm.py": """
                from cornserve.task_executors.descriptor.base import TaskExecutionDescriptor
                from cs_lib.task.unit.llm import BaseLLMTask, Request, Chunk
                class VLLMDescriptor(
                    TaskExecutionDescriptor[BaseLLMTask, Request, Chunk]
                ): ...
            """,
        }
    )
    package = discover(folder / "cs_lib")
    assert found(package) == [
        "unit BaseLLMTask",
        "unit LLMTask",
        "composite ChatTask",
        "descriptor VLLMDescriptor BaseLLMTask",
    ]
    assert [d.name for d in package.definitions] == ["base-llm-task", "llm-task", "chat-task", "vllm-descriptor"]
    assert package.problems == ()


def test_nothing_found_says_what_was_looked_for_and_what_is_there(make_package: MakePackage) -> None:
    folder = make_package({"lib/a.py": "from other.base import Job\nclass A(Job): ...\nclass B(Job): ..."})
    (problem,) = discover(folder / "lib").problems
    assert problem.code == "nothing-found"
    assert "other.base.Job (2)" in problem.message
    assert "base.UnitTask" in problem.hint
    assert str(folder / "pyproject.toml") in problem.hint


@pytest.mark.parametrize(
    ("words", "code"),
    [("class W(UnitTask:\n", "syntax"), ("# " + "x" * 600_000, "too-large"), ("W = '\0'", "nul-byte")],
    ids=["syntax", "too large", "NUL byte"],
)
def test_a_module_that_cannot_be_read_is_the_one_finding(make_package: MakePackage, words: str, code: str) -> None:
    importer = BASE + "from lib.words import W\nclass A(UnitTask): ...\nclass D(Descriptor[W]): ..."
    package = discover(make_package({"lib/words.py": BASE + words, "lib/a.py": importer}) / "lib")
    assert [(problem.code, problem.module) for problem in errors(package.problems)] == [(code, "lib.words")]
    (alone,) = discover(make_package({"lib/words.py": BASE + words, "lib/a.py": ""}) / "lib").problems
    assert alone.code == code


def test_two_runs_find_the_same(make_package: MakePackage) -> None:
    folder = make_package(SITUATIONS["descriptor derived from a generic one"][0])
    assert discover(folder / "lib") == discover(Path(f"{folder}/./lib/"))
