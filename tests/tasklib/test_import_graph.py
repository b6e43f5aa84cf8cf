import pytest

from taskroll.tasklib.closure import changed_modules, closure, closure_of_change, reached_through, sources_of
from taskroll.tasklib.import_graph import import_graph
from taskroll.tasklib.source_facts import read_sources

from .conftest import MakeDefinition

# What module lib.a says; lib.b, lib.q.c and lib.q.d are there. Expected: module → kind.
IMPORTS: dict[str, tuple[str, dict[str, str]]] = {
    "import": ("import lib.b", {"lib.b": "runtime"}),
    "import as": ("import lib.q.c as x", {"lib.q.c": "runtime"}),
    "several": ("import os, lib.b, lib.q.c", {"lib.b": "runtime", "lib.q.c": "runtime"}),
    "from module": ("from lib.b import X", {"lib.b": "runtime"}),
    "from package": ("from lib.q import c, d", {"lib.q.c": "runtime", "lib.q.d": "runtime"}),
    "star": ("from lib.b import *", {"lib.b": "runtime"}),
    "star of an empty package": ("from lib.q import *", {}),
    "relative": ("from .b import X", {"lib.b": "runtime"}),
    "relative module": ("from . import b", {"lib.b": "runtime"}),
    "relative, deeper": ("from .q.c import X", {"lib.q.c": "runtime"}),
    "in a function": ("def f():\n    import lib.b", {"lib.b": "deferred"}),
    "in an async method": ("class C:\n    async def f(self):\n        from lib import b", {"lib.b": "deferred"}),
    "in a class": ("class C:\n    from lib.b import X", {"lib.b": "runtime"}),
    "in an if": ("if 1:\n    import lib.b\nelse:\n    import lib.q.c", {"lib.b": "runtime", "lib.q.c": "runtime"}),
    "in a loop, a with, a match": (
        "for x in y:\n    import lib.b\nwith x:\n    import lib.q.c\nmatch x:\n    case 1:\n        import lib.q.d",
        {"lib.b": "runtime", "lib.q.c": "runtime", "lib.q.d": "runtime"},
    ),
    "guarded": (
        "try:\n    import lib.b\nexcept ImportError:\n    import lib.q.c",
        {"lib.b": "guarded", "lib.q.c": "runtime"},
    ),
    "guarded by a tuple": ("try:\n    import lib.b\nexcept (ValueError, ImportError): ...", {"lib.b": "guarded"}),
    "not guarded": ("try:\n    import lib.b\nexcept KeyError: ...\nfinally: ...", {"lib.b": "runtime"}),
    "for types": (
        "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import lib.b\nelse:\n    import lib.q.c",
        {"lib.b": "not_run", "lib.q.c": "runtime"},
    ),
    "for types, by the module": ("import typing as t\nif t.TYPE_CHECKING:\n    import lib.b", {"lib.b": "not_run"}),
    "not for types": (
        "if not TYPE_CHECKING:\n    import lib.b\nelse:\n    import lib.q.c",
        {"lib.b": "runtime", "lib.q.c": "not_run"},
    ),
    "in a function for types": ("if TYPE_CHECKING:\n    def f():\n        import lib.b", {"lib.b": "not_run"}),
    "as a script": ("if __name__ == '__main__':\n    import lib.b", {"lib.b": "not_run"}),
    "the kind that counts most": ("def f():\n    import lib.b\nimport lib.b", {"lib.b": "runtime"}),
    "by a literal": ("import importlib\nimportlib.import_module('lib.b')", {"lib.b": "runtime"}),
    "by a literal, bare": ("from importlib import import_module\nx = import_module('lib.b')", {"lib.b": "runtime"}),
    "by a literal in a function": ("def f():\n    return import_module(name='lib.b')", {"lib.b": "deferred"}),
    "by a relative literal": ("import_module('.b', __package__)", {"lib.b": "runtime"}),
    "by a relative literal of a package": ("import_module('.c', package='lib.q')", {"lib.q.c": "runtime"}),
    "by __import__": ("x = __import__('lib.b')", {"lib.b": "runtime"}),
    "use through a package": ("import lib.q\nx = lib.q.c.X", {"lib.q.c": "deferred"}),
    "use through an imported package": ("from lib import q\ndef f(): return q.d.X()", {"lib.q.d": "deferred"}),
    "use through a relative package": ("from . import q as r\nx = r.c", {"lib.q.c": "deferred"}),
    "others": ("import os\nfrom pydantic import BaseModel\nimport library.b, lib_b", {}),
    "text that looks like it": ('"""\nimport lib.b\n"""\n# import lib.b\nx = "from lib import b"', {}),
    "itself": ("import lib.a\nfrom lib import a", {}),
    "attributes of other things": ("class X: ...\nx = X()\nx.lib.b.c\nself.q.c", {}),
}


@pytest.fixture(scope="module", autouse=True)
def read_at_once() -> None:
    """One child process for the whole table: facts are kept by text."""
    read_sources(text for text, _ in IMPORTS.values())


@pytest.mark.parametrize("name", IMPORTS)
def test_what_is_an_import(name: str) -> None:
    text, expected = IMPORTS[name]
    graph = import_graph({"lib.a": text, "lib.b": "", "lib.q.c": "", "lib.q.d": ""})
    assert {edge.imported: edge.kind for edge in graph.edges} == expected
    assert graph.imports_of("lib.a") == expected.keys()
    assert graph.unprovided == ()


@pytest.mark.parametrize(
    ("module", "text", "missing"),
    [
        ("lib.a", "import lib.x", ["lib.x"]),
        ("lib.a", "from lib.x import y, z", ["lib.x.y", "lib.x.z"]),
        ("lib.a", "from lib.x import *", ["lib.x"]),
        ("lib.a", "from lib import x", ["lib.x"]),
        ("lib.a", "from lib.q import c, X", ["lib.q.X"]),
        ("lib.a", "from .x import y", ["lib.x.y"]),
        ("lib.a", "from ..x import y", ["..x"]),
        ("lib.a", "from ... import y", ["..."]),
        ("lib.q.e", "from ..b import X", []),
        ("lib.q.e", "from ...b import X", ["...b"]),
        ("lib.q.e", "from .b import X", ["lib.q.b.X"]),
        ("lib.a", "import lib, lib.q", []),
        ("lib.a", "from lib.b import whatever", []),
        ("a", "from . import b", ["."]),
    ],
)
def test_imports_that_nobody_provides(module: str, text: str, missing: list[str]) -> None:
    graph = import_graph({module: text, "lib.b": "", "lib.q.c": ""})
    assert [found.name for found in graph.unprovided] == missing


def test_a_package_with_a_source_is_imported_before_its_modules() -> None:
    graph = import_graph({"lib.q": "", "lib.q.c": "", "lib.a": "from lib.q.c import X", "lib.q.d": "from . import c"})
    assert closure(graph, {"lib.q"}) == {"lib.q", "lib.q.c", "lib.q.d", "lib.a"}
    assert {(edge.importer, edge.imported) for edge in graph.edges} == {
        ("lib.a", "lib.q"),
        ("lib.a", "lib.q.c"),
        ("lib.q.d", "lib.q.c"),
        ("lib.q.d", "lib.q"),
    }


def test_relative_imports_in_a_package_count_from_itself() -> None:
    graph = import_graph({"lib": "from .a import X", "lib.a": "from . import b", "lib.b": "from .. import x"})
    assert {(edge.importer, edge.imported) for edge in graph.edges} >= {("lib", "lib.a"), ("lib.a", "lib.b")}
    assert [found.name for found in graph.unprovided] == [".."]


def test_order_cycles_and_knots() -> None:
    sources = {
        "lib.e": "import lib.d",
        "lib.d": "import lib.c",
        "lib.c": "import lib.b\ndef f(): import lib.e",
        "lib.b": "import lib.x\nif TYPE_CHECKING:\n    import lib.e",
        "lib.x": "import lib.y",
        "lib.y": "import lib.z",
        "lib.z": "import lib.x, lib.y",
        "lib.alone": "",
    }
    graph = import_graph(sources)
    assert graph.import_order() == ["lib.alone", "lib.x", "lib.y", "lib.z", "lib.b", "lib.c", "lib.d", "lib.e"]
    assert graph.import_cycles() == [["lib.x", "lib.y", "lib.z", "lib.x"]]


def test_a_long_chain_needs_no_deep_stack() -> None:
    count = 3000
    sources = {f"lib.m{n}": f"import lib.m{n + 1}" if n + 1 < count else "import lib.m0" for n in range(count)}
    graph = import_graph(sources)
    assert len(closure(graph, {"lib.m7"})) == count
    assert len(graph.import_cycles()[0]) == count + 1
    assert len(graph.import_order()) == count


def test_modules_that_cannot_be_read_are_named() -> None:
    graph = import_graph({"lib.a": "def (", "lib.b": "import lib.a\nimport_module(name)\n__import__(f'{x}')"})
    assert list(graph.unreadable) == ["lib.a"]
    assert graph.dynamic == {"lib.b": (2, 3)}
    assert closure(graph, {"lib.a"}) == {"lib.a", "lib.b"}


CHAIN = {"lib.a": "", "lib.b": "import lib.a", "lib.c": "def f():\n    import lib.b", "lib.d": ""}


@pytest.mark.parametrize(
    ("changed", "expected"),
    [
        (set[str](), ""),
        ({"lib.a"}, "abc"),
        ({"lib.b"}, "bc"),
        ({"lib.c"}, "c"),
        ({"lib.d"}, "d"),
        ({"lib.a", "lib.d"}, "abcd"),
        ({"lib.gone"}, "gone"),
    ],
)
def test_closure(changed: set[str], expected: str) -> None:
    names = {"lib.gone"} if expected == "gone" else {f"lib.{letter}" for letter in expected}
    assert closure(import_graph(CHAIN), changed) == names


def test_reached_through_says_why() -> None:
    assert reached_through([import_graph(CHAIN)], {"lib.a"}) == {"lib.a": None, "lib.b": "lib.a", "lib.c": "lib.b"}


@pytest.mark.parametrize(
    ("before", "after", "changed", "expected"),
    [
        # Imported only before the change: it still holds the old class.
        ({"lib.a": "", "lib.b": "import lib.a"}, {"lib.a": "x", "lib.b": ""}, {"lib.a"}, {"lib.a", "lib.b"}),
        # Imported only after it.
        ({"lib.a": "", "lib.b": ""}, {"lib.a": "x", "lib.b": "import lib.a"}, {"lib.a"}, {"lib.a", "lib.b"}),
        # Deleted: its importers break.
        ({"lib.a": "", "lib.b": "import lib.a"}, {"lib.b": "import lib.a"}, {"lib.a"}, {"lib.a", "lib.b"}),
        # Created.
        ({"lib.b": "import lib.a"}, {"lib.a": "", "lib.b": "import lib.a"}, {"lib.a"}, {"lib.a", "lib.b"}),
        # One step in the one graph, one in the other.
        (
            {"lib.a": "", "lib.b": "import lib.a", "lib.c": ""},
            {"lib.a": "x", "lib.b": "", "lib.c": "import lib.b"},
            {"lib.a"},
            {"lib.a", "lib.b", "lib.c"},
        ),
    ],
)
def test_closure_of_a_change_is_over_both_graphs(
    before: dict[str, str], after: dict[str, str], changed: set[str], expected: set[str]
) -> None:
    assert closure_of_change(import_graph(before), import_graph(after), changed) == expected


def test_changed_modules_of_definitions(make_definition: MakeDefinition) -> None:
    same = make_definition(module="lib.same", cls="Same")
    before = [same, make_definition(module="lib.old"), make_definition(module="lib.gone", cls="Gone")]
    after = [
        same,
        make_definition(module="lib.moved"),
        make_definition(module="lib.fresh", cls="Fresh"),
    ]
    assert changed_modules(before, after) == {"lib.old", "lib.moved", "lib.gone", "lib.fresh"}
    assert changed_modules(before, before) == set()


def test_sources_of_definitions(make_definition: MakeDefinition) -> None:
    definitions = [
        make_definition("x = 1", module="lib.a"),
        make_definition("x = 2", module="lib.a", cls="B"),
        make_definition(b"\xff", module="lib.c"),
        make_definition(module="lib.d", sourceCode="not base64!"),
    ]
    assert sources_of(definitions) == {"lib.a": "x = 1"}
