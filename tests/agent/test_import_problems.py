"""What cannot be loaded: named by definition, module and line, without source text, and harmless to the process."""

import base64
import re
import sys
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from importlib import metadata

import pytest

from taskroll_agent import Generation, LoadFailed, fronts
from taskroll_agent.contracts import DefinitionContent, ImportProblem
from taskroll_agent.loading import RESERVED, Loading, Revision

Load = Callable[[Mapping[str, str]], Generation]
SECRET = "do-not-show-this-text"


def problems_of(load: Load, sources: Mapping[str, str]) -> list[ImportProblem]:
    before = set(sys.modules)
    with pytest.raises(LoadFailed) as caught:
        load(sources)
    assert set(sys.modules) - before <= {name for name in sys.modules if not name.startswith("lib")}
    for problem in caught.value.problems:
        assert SECRET not in problem.model_dump_json()
    return caught.value.problems


@pytest.mark.parametrize(
    ("body", "error", "message"),
    [
        ("class Task(:\n    pass", "SyntaxError", "{m}, line 2: invalid syntax"),
        ("x = '" + SECRET, "SyntaxError", "{m}, line 2: unterminated string literal (detected at line 2)"),
        ("return 1", "SyntaxError", "{m}, line 2: 'return' outside function"),
        ("if True:\nx = 1", "IndentationError",
         "{m}, line 3: expected an indented block after 'if' statement on line 2"),
        ("x = '\0'", "SyntaxError", "{m}: source code string cannot contain null bytes"),
        ("import no_such_module_" + "x", "ModuleNotFoundError", "{m}, line 2: no module named no_such_module_x"),
        ("from json import nothing_there", "ImportError", "{m}, line 2: cannot import nothing_there from json"),
        ("from . import nothing_there", "ImportError", "{m}, line 2: cannot import nothing_there from {root}"),
        ("from ..... import x", "ImportError", "{m}, line 2: attempted relative import beyond top-level package"),
        ("raise ImportError('" + SECRET + "')", "ImportError", "{m}, line 2: the import failed"),
        ("import importlib\nimportlib.import_module('.nothing', __package__)", "ModuleNotFoundError",
         "{m}, line 3: no module named {root}.nothing"),
        ("import json\njson.nothing", "AttributeError", "{m}, line 3: no attribute nothing"),
        ("nothing", "NameError", "{m}, line 2: name nothing is not defined"),
        (f"raise ValueError('{SECRET}')", "ValueError", "{m}, line 2: ValueError was raised"),
        (f"int('{SECRET}')", "ValueError", "{m}, line 2: ValueError was raised"),
        (f"import json\njson.loads('{SECRET}')", "JSONDecodeError", "{m}, line 3: JSONDecodeError was raised"),
        (f"raise SystemExit('{SECRET}')", "SystemExit", "{m}, line 2: SystemExit was raised"),
        ("raise KeyboardInterrupt", "KeyboardInterrupt", "{m}, line 2: KeyboardInterrupt was raised"),
        ("raise GeneratorExit", "GeneratorExit", "{m}, line 2: GeneratorExit was raised"),
        ("raise StopIteration", "StopIteration", "{m}, line 2: StopIteration was raised"),
        ("import asyncio\nraise asyncio.CancelledError", "CancelledError", "{m}, line 3: CancelledError was raised"),
        ("def f(): f()\nf()", "RecursionError", "{m}, line 2: RecursionError was raised"),
        ("raise BaseExceptionGroup('x', [SystemExit()])", "BaseExceptionGroup",
         "{m}, line 2: BaseExceptionGroup was raised"),
        ("from pydantic import BaseModel\nclass M(BaseModel):\n    x = 1", "PydanticUserError",
         "{m}, line 3: pydantic: model-field-missing-annotation"),
        ("class E(Exception):\n    def __str__(self): raise RuntimeError\nraise E()", "E", "{m}, line 4: E was raised"),
        ("class E(Exception):\n    name = property(lambda self: 1 / 0)\nraise E()", "E", "{m}, line 4: E was raised"),
        ("class E(Exception):\n    name = property(lambda self: exit())\nraise E()", "E", "{m}, line 4: E was raised"),
        ("class E(Exception):\n    def __str__(self): raise KeyboardInterrupt\nraise E()", "E",
         "{m}, line 4: E was raised"),
        ("Task = 5", "NotAClass", "{m} has something else named class Task"),
        ("Other = 5", "ClassMissing", "{m} has no class Task"),
    ],
)  # fmt: skip
def test_a_module_that_does_not_load(load: Load, root: str, body: str, error: str, message: str) -> None:
    (problem,) = problems_of(load, {f"{root}.m.Task": f"# first line\n{body}\n"})
    assert problem.definition == "TaskDefinition/task"
    assert problem.module == f"{root}.m"
    assert problem.error == error
    # The wording of the interpreter's own messages differs between versions; the place does not.
    wanted = message.format(m=f"{root}.m", root=root)
    assert problem.message == wanted or sys.version_info[:2] != (3, 11)
    assert problem.message.partition(":")[0] == wanted.partition(":")[0]


@pytest.mark.parametrize("with_front", [False, True], ids=["first release", "over another"])
def test_a_module_that_puts_something_else_in_its_place(load: Load, root: str, with_front: bool) -> None:
    name = f"{root}.m"
    former = load({f"{name}.Task": "class Task:\n    v = 1"}) if with_front else None
    context = fronts.loading(former.module_set) if former else nullcontext()
    body = "import sys\nclass Task:\n    v = 2\nsys.modules[__name__] = type(sys)(__name__)"
    with context:
        (problem,) = problems_of(load, {f"{name}.Task": body})
        if former:
            assert sys.modules[name].Task.v == 1
    assert (problem.error, name not in sys.modules) == ("ReplacesModule", True)
    assert "puts something else under its own name in sys.modules" in problem.message


def test_deeply_nested_source_does_not_take_the_process_down(load: Load, root: str) -> None:
    (problem,) = problems_of(load, {f"{root}.m.Task": "x = " + "(" * 5000 + ")" * 5000})
    assert problem.error in ("SyntaxError", "MemoryError", "RecursionError")


def test_an_error_in_a_dependency_is_reported_there_and_named_by_those_who_import_it(load: Load, root: str) -> None:
    problems = problems_of(
        load,
        {
            f"{root}.a.A": f"from {root}.z import Z\nclass A: pass\n",
            f"{root}.b.B": f"def f():\n    from {root}.a import A\nf()\nclass B: pass\n",
            f"{root}.z.Z": "class Z: pass\n\n1 / 0\n",
            f"{root}.y.Y": "class Y: pass\n",
        },
    )
    found = {problem.definition: (problem.error, problem.message) for problem in problems}
    assert found["TaskDefinition/z"] == ("ZeroDivisionError", f"{root}.z, line 3: ZeroDivisionError was raised")
    assert "TaskDefinition/y" not in found
    assert set(found) == {"TaskDefinition/a", "TaskDefinition/b", "TaskDefinition/z"}
    assert found["TaskDefinition/b"][1].startswith(f"{root}.b, line 2: it imports {root}.a, which did not load")
    assert found["TaskDefinition/a"] == ("NotLoaded", f"{root}.a, line 1: it imports {root}.z, which did not load")
    assert problems[0].definition == "TaskDefinition/z", "the cause comes before what follows from it"


def test_an_error_of_its_own_after_an_import_that_failed_is_a_cause(load: Load, root: str) -> None:
    how = f"try:\n    import {root}.z\nexcept ZeroDivisionError:\n    nothing\nclass A: pass\n"
    problems = problems_of(load, {f"{root}.a.A": how, f"{root}.z.Z": "class Z: pass\n1 / 0\n"})
    assert {problem.definition: problem.error for problem in problems} == {
        "TaskDefinition/a": "NameError",
        "TaskDefinition/z": "ZeroDivisionError",
    }


def test_an_import_cycle_that_works_from_no_end(load: Load, root: str) -> None:
    problems = problems_of(
        load,
        {
            f"{root}.a.A": f"from {root}.b import B\nclass A: pass\n",
            f"{root}.b.B": f"from {root}.a import A\nclass B: pass\n",
        },
    )
    assert sorted(problem.definition for problem in problems) == ["TaskDefinition/a", "TaskDefinition/b"]
    assert any("cannot import" in problem.message for problem in problems)


@pytest.mark.parametrize("how", ["from {root} import broken", "import {root}.broken", "from {root}.broken import x"])
def test_a_module_that_failed_is_not_found_half_loaded_by_others(load: Load, root: str, how: str) -> None:
    problems = problems_of(
        load, {f"{root}.broken.B": "x = 1\n1 / 0\n", f"{root}.user.U": how.format(root=root) + "\nclass U: pass\n"}
    )
    assert [(p.definition, p.error) for p in problems] == [
        ("TaskDefinition/b", "ZeroDivisionError"),
        ("TaskDefinition/u", "NotLoaded"),
    ]


def test_every_syntax_error_is_reported_at_once(load: Load, root: str) -> None:
    problems = problems_of(load, {f"{root}.a.A": "class", f"{root}.b.B": "def", f"{root}.c.C": "class C: pass"})
    assert [problem.definition for problem in problems] == ["TaskDefinition/a", "TaskDefinition/b"]


def test_definitions_of_one_module_must_carry_the_same_source(load: Load, root: str) -> None:
    problems = problems_of(load, {f"{root}.m.A": "class A: pass\nclass B: pass\n", f"{root}.m.B": "class B: pass\n"})
    (problem,) = problems
    assert problem.error == "SourcesDisagree"
    assert "TaskDefinition/a and TaskDefinition/b" in problem.message


@pytest.mark.parametrize(
    ("module", "class_name"),
    [
        ("json", "Task"), ("os.path", "Task"), ("taskroll_agent.agent", "Task"), ("pydantic.x", "Task"),
        ("__main__", "Task"), ("../evil", "Task"), ("a/b", "Task"), ("a..b", "Task"), (".a", "Task"), ("", "Task"),
        ("a b", "Task"), ("a.class", "Task"),
        ("libx.m", "Not a name"), ("libx.m", "class"), ("libx.m", ""),
    ],
)  # fmt: skip
def test_names_that_no_release_may_use(module: str, class_name: str) -> None:
    source = base64.b64encode(b"class Task: pass").decode()
    spec = {"moduleName": module, "taskClassName": class_name, "sourceCode": source}
    content = DefinitionContent(kind="TaskDefinition", name="task", spec=spec)
    with pytest.raises(LoadFailed) as caught:
        Loading({"TaskDefinition/task": Revision(content.digest(), content)}).run()
    assert caught.value.problems[0].error == "InvalidName"


def test_no_release_may_take_the_place_of_what_the_agent_needs() -> None:
    needed, left = set[str](), ["taskroll-agent"]
    while left:
        name = left.pop()
        if name in needed:
            continue
        try:
            requirements = metadata.requires(name) or []
        except metadata.PackageNotFoundError:  # for another version of Python
            continue
        needed.add(name)
        left += [re.split(r"[^\w.-]", r)[0].lower().replace("_", "-") for r in requirements if "extra ==" not in r]
    of = metadata.packages_distributions()
    tops = {top for top, names in of.items() if needed & {name.lower().replace("_", "-") for name in names}}
    assert {"h11", "pydantic_core"} <= tops
    assert {top for top in tops if top.isidentifier()} <= RESERVED


@pytest.mark.parametrize("code", [None, 5, "not base64!", "====="])
def test_a_source_that_is_not_base64(code: object, root: str) -> None:
    spec = {"moduleName": f"{root}.m", "taskClassName": "Task", "sourceCode": code}
    content = DefinitionContent(kind="TaskDefinition", name="task", spec=spec)
    with pytest.raises(LoadFailed) as caught:
        Loading({"TaskDefinition/task": Revision(content.digest(), content)}).run()
    assert caught.value.problems[0].error == "InvalidSource"


def test_allowed_prefixes(revisions: Callable[..., dict[str, Revision]], root: str) -> None:
    found = revisions({f"{root}.m.Task": "class Task: pass"})
    assert Loading(found, [root]).run()
    assert Loading(found, ["other", f"{root}.m"]).run()
    for prefix in (root[:-1], f"{root}.m.x", "other"):
        with pytest.raises(LoadFailed, match="none of the allowed prefixes"):
            Loading(found, [prefix]).run()


def test_an_ordinary_package_under_the_same_root_that_fails_to_import(
    load: Load, root: str, tmp_path: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = tmp_path / root  # type: ignore[operator]
    package.mkdir()
    (package / "__init__.py").write_text(f"raise RuntimeError('{SECRET}')\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    (problem,) = problems_of(load, {f"{root}.m.Task": "class Task: pass"})
    assert problem.error == "RuntimeError"
