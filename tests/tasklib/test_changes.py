import pytest

from taskroll.tasklib.changes import MAX_LISTED, ClassChange, describe_change, unified_diff
from taskroll_agent.contracts import Metadata

from .conftest import MakeDefinition

BEFORE = """
class Input(Model):
    text: str

class A(UnitTask[Input, Output]):
    size: int = 4
    name: str
    names: list[str] = []
    kept: int = 1
    limit: ClassVar[int] = 3
    _private: int = 1

    def run(self, x): ...
    def gone(self): ...
    def same(self): return 1
"""
AFTER = """
class Input(Model):
    text: str | None = None

class A(UnitTask[Input, Result]):
    size: int = 8
    name: Name
    unit: Literal["letter", "word"] = "letter"
    kept: int = 1
    limit: ClassVar[int] = 4
    _private: int = 2

    async def run(self, x, *, y: int = 0) -> int: ...
    def same(self): return 2
    def fresh(self): ...

class Result(Model): ...
"""


def test_fields_methods_and_bases(make_definition: MakeDefinition) -> None:
    summary = describe_change(make_definition(BEFORE), make_definition(AFTER))
    assert str(summary).startswith("TaskDefinition/a: changed, +")
    classes = {change.name: change for change in summary.classes}
    assert list(classes) == ["A", "Input", "Result"]
    a = classes["A"]
    assert (a.bases_before, a.bases_after) == (("UnitTask[Input, Output]",), ("UnitTask[Input, Result]",))
    assert [(f.name, f.change, f.type_before, f.type_after, f.default_before, f.default_after) for f in a.fields] == [
        ("size", "changed", "int", "int", "4", "8"),
        ("name", "changed", "str", "Name", None, None),
        ("names", "removed", "list[str]", None, "[]", None),
        ("unit", "added", None, "Literal['letter', 'word']", None, "'letter'"),
    ]
    assert [(m.name, m.change, m.signature_before, m.signature_after) for m in a.methods] == [
        ("run", "changed", "(self, x)", "async (self, x, *, y: int=0) -> int"),
        ("gone", "removed", "(self)", None),
        ("fresh", "added", None, "(self)"),
    ]
    assert [(f.name, f.change, f.default_after) for f in classes["Input"].fields] == [("text", "changed", "None")]
    assert classes["Result"] == ClassChange(name="Result", change="added")


@pytest.mark.parametrize(
    ("before", "after", "added", "removed"),
    [
        ("a\nb\nc\n", "a\nb\nc\n", 0, 0),
        ("a\nb\nc\n", "a\nx\nc\n", 1, 1),
        ("a\nb\nc\n", "a\nb\nc\nd\ne\n", 2, 0),
        ("a\nb\nc\n", "b\n", 0, 2),
        ("", "a\n", 1, 0),
        ("a\n" * 5, "a\n" * 3, 0, 2),
        ("a\nb\n", "b\na\n", 1, 1),
        ("x = 1\n" * 3000 + "y\n", "x = 2\n" * 3000 + "y\n", 3000, 3000),
    ],
)
def test_lines(make_definition: MakeDefinition, before: str, after: str, added: int, removed: int) -> None:
    # The note keeps the two apart where their sources are the same.
    summary = describe_change(make_definition(before), make_definition(after, note=1))
    assert (summary.lines_added, summary.lines_removed) == (added, removed)


def test_lines_are_those_of_the_unified_diff(make_definition: MakeDefinition) -> None:
    before, after = make_definition(BEFORE), make_definition(AFTER)
    summary = describe_change(before, after)
    lines = unified_diff(before, after).splitlines()
    assert lines[:2] == ["--- a/lib/a.py", "+++ b/lib/a.py"]
    assert summary.lines_added == sum(line.startswith("+") for line in lines[2:])
    assert summary.lines_removed == sum(line.startswith("-") for line in lines[2:])


def test_created_deleted_unchanged(make_definition: MakeDefinition) -> None:
    a = make_definition("class A:\n    x: int\n")
    created, deleted, unchanged = describe_change(None, a), describe_change(a, None), describe_change(a, a)
    assert (created.change, created.lines_added, created.lines_removed) == ("created", 2, 0)
    assert (deleted.change, deleted.lines_added, deleted.lines_removed) == ("deleted", 0, 2)
    assert (unchanged.change, unchanged.lines_added) == ("unchanged", 0)
    assert (created.classes, deleted.classes) == ((), ())
    assert unified_diff(None, a).startswith("--- /dev/null\n+++ b/lib/a.py\n")
    assert unified_diff(a, None).endswith("-class A:\n-    x: int\n")
    assert unified_diff(a, a) == ""
    with pytest.raises(ValueError, match="one of them at least"):
        describe_change(None, None)
    with pytest.raises(ValueError, match="two versions of one definition"):
        describe_change(a, make_definition(cls="B"))


def test_other_values_labels_and_annotations(make_definition: MakeDefinition) -> None:
    before = make_definition().model_copy(update={"metadata": Metadata(labels={"a": "1", "b": "1"})})
    after = make_definition(module="lib.b", isUnitTask=False, extra="x" * 1000).model_copy(
        update={"metadata": Metadata(labels={"a": "2"}, annotations={"n": ""})}
    )
    summary = describe_change(before, after)
    assert summary.change == "changed"
    assert [(v.name, v.before, v.after and v.after[:8]) for v in summary.values] == [
        ("annotation n", None, ""),
        ("extra", None, "xxxxxxxx"),
        ("isUnitTask", "True", "False"),
        ("label a", "1", "2"),
        ("label b", "1", None),
        ("moduleName", "lib.a", "lib.b"),
    ]
    assert len(summary.model_dump_json()) < 1500


@pytest.mark.parametrize("broken", ["def (", b"\xff", "x = " + "-" * 200_000 + "1"])
def test_sources_that_are_no_python_are_compared_by_lines(make_definition: MakeDefinition, broken: str | bytes) -> None:
    summary = describe_change(make_definition(broken), make_definition(AFTER))
    assert summary.classes == ()
    assert summary.lines_added > 10
    assert describe_change(make_definition(sourceCode=None), make_definition(AFTER)).lines_removed == 0


def test_two_long_defaults_that_differ_at_the_end_are_told_apart(make_definition: MakeDefinition) -> None:
    values = ", ".join(map(str, range(100)))
    summary = describe_change(
        make_definition(f"class A:\n    x: tuple = ({values}, 1)\n"),
        make_definition(f"class A:\n    x: tuple = ({values}, 2)\n"),
    )
    (change,) = summary.classes[0].fields
    assert change.default_before != change.default_after
    assert len(change.default_after or "") <= 80


def test_a_summary_stays_small(make_definition: MakeDefinition) -> None:
    def source(kind: str) -> str:
        fields = "".join(f"    field_{'x' * 100}{i}: {kind} = {i}\n" for i in range(300))
        return "".join(f"class C{number}:\n{fields}" for number in range(5)) + "class A: ...\n"

    summary = describe_change(make_definition(source("int")), make_definition(source("str")))
    listed = sum(1 + len(change.fields) + len(change.methods) for change in summary.classes)
    assert listed == MAX_LISTED
    assert summary.not_listed == 5 * 301 - MAX_LISTED
    assert len(summary.model_dump_json()) < 20_000


def test_sources_that_are_made_to_hurt_difflib(make_definition: MakeDefinition) -> None:
    before = make_definition("a\nb\n" * 20_000)
    after = make_definition("a\nc\n" * 20_000)
    middle = make_definition("a\nb\n" * 900), make_definition("a\nc\n" * 900)
    assert describe_change(before, after).lines_added == 20_000
    assert describe_change(*middle).lines_added >= 900
    lines = unified_diff(before, after).splitlines()
    assert lines[2] == "@@ -1,40000 +1,40000 @@"
    assert (lines.count("-b"), lines.count("+c"), len(lines)) == (20_000, 20_000, 3 + 80_000)
