import pytest

from taskroll.tasklib.checks import check_sources
from taskroll.tasklib.problems import errors
from taskroll.tasklib.source_facts import read_sources
from taskroll_agent.contracts import DefinitionContent

from .conftest import MakeDefinition

Given = dict[str, object]
Expected = tuple[str, str, int | None]
A = "class A: ...\n"
LIB_A: Given = {"source": A}
DESCRIPTOR: Given = {"kind": "ExecutionDescriptor", "cls": "D", "source": "class D: ...\n", "module": "lib.d"}

# Definitions → (severity, code, line) of all that is found.
SITUATIONS: dict[str, tuple[list[Given], list[Expected]]] = {
    "nothing wrong": ([LIB_A], []),
    "nothing at all": ([], []),
    "syntax": ([{"source": A + "def f(:\n"}], [("error", "syntax", 2)]),
    "return outside of a function": ([{"source": A + "return\n"}], [("error", "syntax", 2)]),
    "future import too late": ([{"source": A + "from __future__ import annotations\n"}], [("error", "syntax", 2)]),
    "tab and space": ([{"source": "class A:\n\tx = 1\n        y = 2\n"}], [("error", "syntax", 3)]),
    "empty source": ([{"source": ""}], [("error", "class-missing", None)]),
    "no class": ([{"source": "class B: ...\n"}], [("error", "class-missing", None)]),
    "class inside of a class": ([{"source": "class B:\n    class A: ...\n"}], [("error", "class-missing", None)]),
    "class inside of a function": ([{"source": "def f():\n    class A: ...\n"}], [("error", "class-missing", None)]),
    "class for types only": ([{"source": "if TYPE_CHECKING:\n    class A: ...\n"}], [("error", "class-missing", None)]),
    "class in a try": ([{"source": "try:\n    class A: ...\nexcept Exception: ...\n"}], []),
    "class in an else": ([{"source": "if x: ...\nelse:\n    class A: ...\n"}], []),
    "class by a call": ([{"source": "A = make()\n"}], [("warning", "class-not-a-statement", None)]),
    "class imported": ([{"source": "from x import A\n"}], [("warning", "class-not-a-statement", None)]),
    "function of that name": ([{"source": "def A(): ...\n"}], [("warning", "class-not-a-statement", None)]),
    "declared, not bound": ([{"source": "A: type\n"}], [("error", "class-missing", None)]),
    "descriptor's own class is looked for": (
        [{**DESCRIPTOR, "source": A}, LIB_A],
        [("error", "class-missing", None)],
    ),
    "NUL": ([{"source": A + "\0"}], [("error", "nul-byte", 2)]),
    "not UTF-8": ([{"source": A.encode() + b"# \xe9\n"}], [("error", "not-utf8", 2)]),
    "declared otherwise": ([{"source": "# coding: cp1252\n" + A}], [("error", "not-utf8", 1)]),
    "declared, unknown": ([{"source": "# coding: klingon\n" + A}], [("error", "not-utf8", 1)]),
    "byte order mark": ([{"source": "\ufeff" + A}], []),
    "as large as allowed": ([{"source": A + "#" * (512 * 1024 - len(A))}], []),
    "too large": ([{"source": A + "#" * (512 * 1024 - len(A) + 1)}], [("error", "too-large", None)]),
    "too deep": ([{"source": A + "x = " + "(" * 150 + "-" * 200_000 + "1" + ")" * 150}], [("error", "too-deep", None)]),
    "no source": ([{"sourceCode": None}], [("error", "source-missing", None)]),
    "not base64": ([{"sourceCode": "a b"}], [("error", "source-missing", None)]),
    "module name with slashes": ([{"module": "../../etc/cron"}], [("error", "bad-module-name", None)]),
    "module name with a keyword": ([{"module": "lib.import"}], [("error", "bad-module-name", None)]),
    "no module name": ([{"module": ""}], [("error", "bad-module-name", None)]),
    "class name with a bracket": ([{"cls": "A[int]", "name": "a"}], [("error", "bad-class-name", None)]),
    "class name with a dot": ([{"cls": "A.B", "name": "a"}], [("error", "bad-class-name", None)]),
    "task's class name": ([{**DESCRIPTOR, "task": "A B"}], [("error", "bad-class-name", None)]),
    "resource name": ([{"name": "A_b"}], [("error", "bad-resource-name", None)]),
    "three bad names": (
        [{"name": "A", "cls": "1", "module": "1"}],
        [
            ("error", "bad-class-name", None),
            ("error", "bad-module-name", None),
            ("error", "bad-resource-name", None),
        ],
    ),
    "two classes of a module": ([{"source": A + "class B: ...\n"}, {"source": A + "class B: ...\n", "cls": "B"}], []),
    "sources of a module differ": (
        [LIB_A, {"source": A + "class B: ...\n", "cls": "B"}],
        [("error", "module-sources-differ", None)],
    ),
    "one resource twice": (
        [
            {"cls": "AB", "name": "ab", "source": "class AB: ..."},
            {"cls": "Ab", "name": "ab", "module": "lib.b", "source": "class Ab: ..."},
        ],
        [("error", "resource-name-clash", None)],
    ),
    "task and descriptor may have one resource name": (
        [LIB_A, {**DESCRIPTOR, "name": "a"}],
        [],
    ),
    "one class name in two modules": (
        [LIB_A, {"module": "lib.b", "name": "other"}],
        [("error", "class-name-clash", None), ("error", "class-name-clash", None)],
    ),
    "one class in two resources": (
        [LIB_A, {"name": "other"}],
        [("error", "class-name-clash", None), ("error", "class-name-clash", None)],
    ),
    "module and package": (
        [LIB_A, {"module": "lib.a.b", "cls": "B", "source": "class B: ..."}],
        [("error", "module-is-package", None)],
    ),
    "descriptor of nothing": ([DESCRIPTOR], [("warning", "task-not-defined", None)]),
    "descriptor of a composite task": (
        [{"source": A, "isUnitTask": False}, DESCRIPTOR],
        [("warning", "task-not-defined", None)],
    ),
    "two default descriptors": (
        [LIB_A, DESCRIPTOR, {**DESCRIPTOR, "cls": "E", "module": "lib.e", "source": "class E: ..."}],
        [("warning", "two-default-descriptors", None), ("warning", "two-default-descriptors", None)],
    ),
    "two descriptors, one default": (
        [
            LIB_A,
            DESCRIPTOR,
            {**DESCRIPTOR, "cls": "E", "module": "lib.e", "source": "class E: ...", "isDefault": False},
        ],
        [],
    ),
    "import of a module without definitions": (
        [{"source": A + "from lib.shared import x\n"}],
        [("error", "import-not-provided", 2)],
    ),
    "import through an empty package": (
        [LIB_A, {"module": "lib.b", "cls": "B", "source": "from lib import A\nclass B(A): ...\n"}],
        [("error", "import-not-provided", 1)],
    ),
    "import beyond the package": ([{"source": A + "from .. import x\n"}], [("error", "import-not-provided", 2)]),
    "guarded import": (
        [{"source": A + "try:\n    import lib.x\nexcept ImportError: ...\n"}],
        [("warning", "import-not-provided", 3)],
    ),
    "deferred import": ([{"source": A + "def f():\n    import lib.x\n"}], [("warning", "import-not-provided", 3)]),
    "import for types": ([{"source": A + "if TYPE_CHECKING:\n    import lib.x\n"}], []),
    "import of other packages": ([{"source": A + "import os, library, numpy.lib\n"}], []),
    "import of a module that is broken": (
        [{"source": A + "import lib.b\n"}, {"module": "lib.b", "cls": "B", "source": b"\xff"}],
        [("error", "not-utf8", 1)],
    ),
    "import by a computed name": ([{"source": A + "import_module(A.x)\n"}], [("warning", "import-not-readable", 2)]),
    "cycle": (
        [
            {"source": A + "import lib.b\n"},
            {"module": "lib.b", "cls": "B", "source": "import lib.a\nclass B: ...\n"},
        ],
        [("warning", "import-cycle", None)],
    ),
    "cycle through a function": (
        [
            {"source": A + "def f():\n    import lib.b\n"},
            {"module": "lib.b", "cls": "B", "source": "import lib.a\nclass B: ...\n"},
        ],
        [],
    ),
}


@pytest.fixture(scope="module", autouse=True)
def read_at_once() -> None:
    """One child process for the whole table: facts are kept by text."""
    given = [definition.get("source") for definitions, _ in SITUATIONS.values() for definition in definitions]
    read_sources(text for text in given if isinstance(text, str))


@pytest.mark.parametrize("name", SITUATIONS)
def test_situations(make_definition: MakeDefinition, name: str) -> None:
    given, expected = SITUATIONS[name]
    problems = check_sources(make_definition(**definition) for definition in given)
    assert [(p.severity, p.code, p.line) for p in problems] == expected
    for problem in problems:
        assert problem.hint.endswith((".", "…")), problem
        assert problem.definition or problem.module
    assert len(errors(problems)) == sum(severity == "error" for severity, _, _ in expected)


def test_messages_say_who_and_what(make_definition: MakeDefinition) -> None:
    found = check_sources([make_definition(A + "from lib.shared.util import x\n")])
    assert str(found[0]).startswith("error: lib.a:2: it imports 'lib.shared.util.x', which no definition provides")
    assert "provided" in found[0].hint


def test_what_services_have_installed_is_provided(make_definition: MakeDefinition) -> None:
    definition = make_definition(A + "from lib.shared.util import x\nimport lib.sharedness\n")
    (problem,) = check_sources([definition], provided=["lib.shared"])
    assert "lib.sharedness" in problem.message


def test_scope_leaves_out_what_was_wrong_before(make_definition: MakeDefinition) -> None:
    broken = make_definition("def (", module="lib.old", cls="Old")
    importer = make_definition("import lib.gone\nclass B: ...\n", module="lib.b", cls="B")
    bad_name = make_definition(module="lib/x", cls="X")
    fine = make_definition()
    everything = [broken, importer, bad_name, fine]
    assert len(check_sources(everything)) == 3
    assert check_sources(everything, scope={fine.key}) == []
    assert [p.module for p in check_sources(everything, scope={importer.key})] == ["lib.b"]
    assert [p.code for p in check_sources(everything, scope={bad_name.key})] == ["bad-module-name"]


def test_a_message_never_holds_a_line_of_source(make_definition: MakeDefinition) -> None:
    secret = "swordfish"
    sources = [
        f"class A:\n  x = '{secret}\n",
        f"def ({secret}",
        f'x = f"{{{secret}!}}"',
        f"{secret} = = 1",
        f"'{secret}' = 1",
    ]
    for source in sources:
        (problem, *_) = check_sources([make_definition(source)])
        assert problem.code == "syntax"
        assert secret not in str(problem), source


def test_the_version_that_services_run_decides_about_syntax(make_definition: MakeDefinition) -> None:
    definition = make_definition(A + "match 1:\n    case 1: ...\n")
    assert check_sources([definition], target=(3, 10)) == []
    assert [p.code for p in check_sources([definition], target=(3, 9))] == ["syntax"]


def test_a_name_of_any_length_makes_a_short_message(make_definition: MakeDefinition) -> None:
    long = "a" * 1_000_000
    definitions: list[DefinitionContent] = [
        make_definition(module=long),
        make_definition(cls=long, name="x"),
        make_definition(name=long),
        make_definition(f"class A: ...\nimport lib.{long}\nclass {long}: ...\n"),
    ]
    for definition in definitions:
        for problem in check_sources([definition]):
            assert len(problem.model_dump_json()) < 2000, problem.code


def test_problems_are_sorted_and_the_same_each_time(make_definition: MakeDefinition) -> None:
    definitions = [
        make_definition("import lib.x, lib.w\ndef f():\n    import lib.v\nclass A: ...\n"),
        make_definition("class C: ...", module="lib.b", cls="B"),
    ]
    first = check_sources(definitions)
    assert first == check_sources(reversed(definitions))
    assert [problem.severity for problem in first] == ["error", "error", "error", "warning"]
