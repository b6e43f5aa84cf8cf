"""The package's code never runs, whatever is looked for in it, and its parser cannot end this process."""

import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import pytest

from taskroll.tasklib import source_facts
from taskroll.tasklib.changes import describe_change, unified_diff
from taskroll.tasklib.checks import check_sources
from taskroll.tasklib.closure import closure, sources_of
from taskroll.tasklib.discovery import discover
from taskroll.tasklib.import_graph import import_graph
from taskroll.tasklib.source_facts import read_sources

from .conftest import MakeDefinition, MakePackage

RUNS = """
    import os, pathlib
    pathlib.Path({mark!r}).write_text("ran")
    from base import UnitTask
    class Meta(type):
        def __new__(cls, *args):
            pathlib.Path({mark!r}).write_text("ran")
            return super().__new__(cls, *args)
    def decorate(cls):
        pathlib.Path({mark!r}).write_text("ran")
        return cls
    @decorate
    class A(UnitTask, metaclass=Meta):
        pathlib.Path({mark!r}).write_text("ran")
        field: int = pathlib.Path({mark!r}).write_text("ran")
        def run(self, x=pathlib.Path({mark!r}).write_text("ran")): ...
    raise SystemExit(3)
    os._exit(4)
"""


def test_discovery_checks_graph_and_diffs_run_no_code_of_the_package(
    make_package: MakePackage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mark = str(tmp_path / "mark")
    source = textwrap.dedent(RUNS.format(mark=mark))
    files = dict.fromkeys(
        ["lib/__init__.py", "lib/a.py", "lib/conftest.py", "lib/setup.py", "sitecustomize.py"], source
    )
    # What the child process could pick up by accident, were it not started isolated.
    files |= dict.fromkeys(["lib/ast.py", "lib/json.py", "json.py", "griffe.py", "base.py", "usercustomize.py"], source)
    folder = make_package(files)
    monkeypatch.chdir(folder)
    monkeypatch.setenv("PYTHONPATH", str(folder))
    monkeypatch.setenv("PYTHONSTARTUP", str(folder / "sitecustomize.py"))
    monkeypatch.syspath_prepend(str(folder))
    modules = set(sys.modules)
    package = discover(folder / "lib")
    contents = package.contents()
    assert [content.class_name for content in contents][:1] == ["A"]
    check_sources(contents)
    closure(import_graph(sources_of(contents)), {"lib.a"})
    changed = contents[0].model_copy(update={"spec": contents[1].spec | {"sourceCode": ""}})
    describe_change(contents[0], changed)
    unified_diff(contents[0], changed)
    assert not Path(mark).exists()
    assert not {name for name in set(sys.modules) - modules if name.split(".")[0] in ("lib", "base", "sitecustomize")}
    assert not list(folder.rglob("__pycache__"))


def test_the_sources_of_that_test_would_leave_their_mark(tmp_path: Path) -> None:
    mark = tmp_path / "mark"
    (tmp_path / "a.py").write_text(textwrap.dedent(RUNS.format(mark=str(mark))))
    subprocess.run([sys.executable, "-B", "a.py"], cwd=tmp_path, capture_output=True)
    assert mark.exists()


HOSTILE = {
    "many clauses": "x = [a " + "for a in b " * 20_000 + "]",
    "long import": "import a" + ".a" * 15_000,
    "dots": "from " + "." * 400_000 + " import a",
    "signs": "x = " + "-" * 500_000 + "1",
    "sums": "x = " + "1+" * 250_000 + "1",
    "calls": "x = a" + "()" * 250_000,
    "branches": "if a: pass\n" + "elif a: pass\n" * 35_000,
    "brackets": "x = " + "(" * 250_000,
    "lambdas": "x = " + "lambda:" * 60_000 + "1",
    "powers": "x = 2**10000000**2",
    "digits": "x = " + "9" * 500_000,
    "attributes": "import q\nx = q" + ".b" * 200_000,
    "semicolons": "a;" * 30_000,
    "surrogates": "x = '\\ud800'",
    "many imports": "".join(f"from lib import a{i}\n" for i in range(3000)),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_sources_that_are_made_to_hurt_the_parser(name: str, make_definition: MakeDefinition) -> None:
    hurt = make_definition(HOSTILE[name] + "\nclass A: ...\n", module="lib.a")
    fine = make_definition(f"class B: ...\n# {name}", module="lib.b", cls="B")
    problems = check_sources([hurt, fine])
    assert {problem.module for problem in problems} <= {"lib.a"}
    assert len(problems) <= 20
    assert all(len(problem.message) < 500 for problem in problems)
    if name == "many imports":
        assert problems[-1].message.endswith("(and 2980 more like this)")


CHILD = """
import sys, os, json
print('{"ready": true}', flush=True)
for line in sys.stdin:
    text = json.loads(line)["text"]
    if text.startswith("kill"):
        os.abort() if text == "kill" else os._exit(7)
    print(json.dumps({"error": {"code": "syntax", "message": text, "line": 1, "column": 1}}), flush=True)
"""


def test_a_source_that_ends_the_child_costs_only_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "child.py").write_text(CHILD)
    monkeypatch.setattr(source_facts, "_READER", tmp_path / "child.py")
    texts = ["one", "kill", "two", "killed", "three"]
    facts = read_sources(texts)
    assert [facts[text].fault.message for text in texts if facts[text].fault] == [
        "one",
        "Python's parser ended on it (signal 6)",
        "two",
        "Python's parser ended on it (exit code 7)",
        "three",
    ]
    assert [facts[text].fault.code for text in texts if facts[text].fault].count("unreadable") == 2


def test_after_some_such_sources_the_rest_is_not_looked_at(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "child.py").write_text(CHILD)
    monkeypatch.setattr(source_facts, "_READER", tmp_path / "child.py")
    facts = read_sources([f"kill {number}" for number in range(50)] + ["last"])
    messages = [fact.fault.message for fact in facts.values() if fact.fault]
    assert len(messages) == 51
    assert sum("ended on it" in message for message in messages) == 5
    assert facts["last"].fault is not None
    assert "not looked at" in facts["last"].fault.message


def test_a_child_that_hangs_is_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "child.py").write_text(CHILD.replace("os.abort()", "__import__('signal').pause()"))
    monkeypatch.setattr(source_facts, "_READER", tmp_path / "child.py")
    monkeypatch.setattr(source_facts, "_WALL_SECONDS", 0.3)
    facts = read_sources(["before", "kill", "after"])
    assert facts["before"].fault == source_facts.Fault("syntax", "before", 1, 1)
    assert [facts[text].fault.code for text in ("kill", "after") if facts[text].fault] == ["unreadable"] * 2


def test_a_child_that_cannot_start_is_no_finding_about_sources(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "child.py").write_text("raise RuntimeError('no')")
    monkeypatch.setattr(source_facts, "_READER", tmp_path / "child.py")
    with pytest.raises(OSError, match="did not start: RuntimeError: no"):
        read_sources(["never read before"])


def test_facts_are_kept_by_text_but_not_what_ended_the_parser(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kept = read_sources(["x = 'kept'"])
    (tmp_path / "child.py").write_text(CHILD)
    with monkeypatch.context() as patch:
        patch.setattr(source_facts, "_READER", tmp_path / "child.py")
        assert read_sources(["x = 'kept'"]) == kept
        assert read_sources(["kill"])["kill"].fault is not None
    assert read_sources(["kill"])["kill"].fault is None


def test_many_modules_are_each_parsed_once_in_one_child(
    make_definition: MakeDefinition, monkeypatch: pytest.MonkeyPatch
) -> None:
    definitions = [
        make_definition(
            f"import os\nfrom lib import m{number - 1}\nclass T{number}(m{number - 1}.X): ...\n"
            if number
            else "class T0: ...\n",
            module=f"lib.m{number}",
            cls=f"T{number}",
        )
        for number in range(50)
    ]
    children: list[list[str]] = []
    run_reader = source_facts._run_reader

    def counted(texts: list[str], *rest: Any) -> tuple[list[dict[str, Any]], str]:
        children.append(texts)
        return run_reader(texts, *rest)

    monkeypatch.setattr(source_facts, "_run_reader", counted)
    assert check_sources(definitions) == []
    assert [sorted(texts) for texts in children] == [sorted(definition.source().decode() for definition in definitions)]
    assert check_sources(definitions) == []
    assert len(children) == 1


def test_importing_the_package_is_cheap() -> None:
    code = "import sys, taskroll.tasklib; print('griffe' in sys.modules, 'pydantic' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout.split() == ["False", "False"]
