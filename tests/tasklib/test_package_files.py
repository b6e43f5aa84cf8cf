import linecache
import os
from pathlib import Path

import pytest

from taskroll.tasklib.discovery import discover
from taskroll.tasklib.package_config import PackageConfig, TaskBases
from taskroll.tasklib.package_files import PackagePathError, as_sent

from .conftest import MakePackage

TASK = "from base import UnitTask\nclass {}(UnitTask): ...\n"
BASES = TaskBases(unit_task=("base.UnitTask",))


def names(folder: Path, config: PackageConfig | None = None) -> list[str]:
    return [f"{d.module}:{d.class_name}" for d in discover(folder, config).definitions]


@pytest.mark.parametrize(
    ("files", "path", "expected"),
    [
        (["lib/__init__.py", "lib/a.py"], "lib", ["lib.a:A"]),
        (["lib/a.py"], "lib", ["lib.a:A"]),
        (["lib/x/y/a.py"], "lib", ["lib.x.y.a:A"]),
        (["lib/__init__.py", "lib/x/__init__.py", "lib/x/a.py", "lib/b.py"], "lib/x", ["lib.x.a:A"]),
        (["lib/x/a.py"], "lib/x", ["x.a:A"]),
        (["lib/.hidden/a.py", "lib/__pycache__/a.py", "lib/b.txt", "lib/a.pyi"], "lib", []),
    ],
)
def test_module_names_count_from_above_the_topmost_package(
    make_package: MakePackage, files: list[str], path: str, expected: list[str]
) -> None:
    folder = make_package({file: "" if file.endswith("__init__.py") else TASK.format("A") for file in files})
    assert names(folder / path) == expected


def test_source_root_names_the_place_where_folders_have_no_init(make_package: MakePackage) -> None:
    folder = make_package({"src/lib/x/a.py": TASK.format("A"), "src/lib/b.py": TASK.format("B")})
    config = PackageConfig(bases=BASES, source_root=str(folder / "src"))
    assert names(folder / "src/lib/x", config) == ["lib.x.a:A"]
    with pytest.raises(PackagePathError, match="does not lie under the source_root"):
        discover(folder, config)


@pytest.mark.parametrize(
    ("path", "parts"),
    [
        ("nowhere", ["does not exist"]),
        ("lib/a.py", ["is a file", "give the folder"]),
        (".", ["is a project, not a package", "/lib"]),
        ("v-1", ["'v-1' is no identifier", "v-1/inner"]),
        ("empty-1", ["no packages in it"]),
        ("v-2", ["v-2/src/deep"]),
    ],
)
def test_a_path_that_is_no_package(make_package: MakePackage, path: str, parts: list[str]) -> None:
    folder = make_package(
        {"lib/a.py": "", "v-1/inner/a.py": "", "empty-1/x.txt": "", "v-2/src/deep/a.py": "", "v-2/src/empty/x": ""}
    )
    with pytest.raises(PackagePathError) as caught:
        discover(folder / path)
    for part in parts:
        assert part in str(caught.value)


def test_a_relative_path(make_package: MakePackage, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = make_package({"lib/a.py": TASK.format("A")})
    monkeypatch.chdir(folder / "lib")
    assert names(Path()) == ["lib.a:A"]


def test_excluded_modules_have_no_definitions_but_are_read_for_bases(make_package: MakePackage) -> None:
    folder = make_package(
        {
            "lib/a.py": "from lib.dev.common import Base\nclass A(Base): ...",
            "lib/dev/common.py": "from base import UnitTask\nclass Base(UnitTask): ...",
            "lib/tests/test_a.py": "def (",
        }
    )
    assert names(folder / "lib", PackageConfig(bases=BASES, exclude=("lib.dev", "lib.*tests*"))) == ["lib.a:A"]


@pytest.mark.parametrize(
    ("name", "data", "code", "line"),
    [
        ("b.py", b"x = 1\ndef (:\n", "syntax", 2),
        ("b.py", b"return 1\n", "syntax", 1),
        ("b.py", b"# coding: latin-1\nx = '\xe9'\n", "not-utf8", 2),
        ("b.py", b"#!/usr/bin/python\n# -*- coding: latin-1 -*-\nx = 1\n", "not-utf8", 2),
        ("b.py", b"x = 1\ny = '\xff'\n", "not-utf8", 2),
        ("b.py", b"x = 1\n\n\0", "nul-byte", 3),
        ("b.py", "x = 1\n".encode("utf-16"), "nul-byte", 1),
        ("b.py", b"#" * 524_289, "too-large", None),
        ("b.py", b"x = " + b"-" * 200_000 + b"1\n", "too-deep", None),
        ("b-c.py", b"x = 1\n", "file-not-importable", None),
        ("1b/c.py", b"x = 1\n", "directory-not-importable", None),
    ],
)
def test_a_file_that_cannot_be_used_is_said_and_the_others_are_found(
    make_package: MakePackage, name: str, data: bytes, code: str, line: int | None
) -> None:
    folder = make_package({"lib/a.py": TASK.format("A")})
    file = folder / "lib" / name
    file.parent.mkdir(exist_ok=True)
    file.write_bytes(data)
    package = discover(folder / "lib")
    assert [d.class_name for d in package.definitions] == ["A"]
    assert [(p.code, p.line) for p in package.problems] == [(code, line)]


@pytest.mark.parametrize(
    "data",
    [
        b"# -*- coding: utf-8 -*-\nx = '\xc3\xa9'\n",
        b"# vim: set fileencoding=UTF8 :\n",
        b"x = 1\ny = 2\n# coding: latin-1\n",
        b"x = 1  # the coding: latin-1 of old files\n",
        b"\xef\xbb\xbfx = 1\n",
        b"x = '\\0'\n",
        b"",
    ],
)
def test_encodings_that_are_no_problem(make_package: MakePackage, data: bytes) -> None:
    folder = make_package({"lib/a.py": TASK.format("A")})
    (folder / "lib/b.py").write_bytes(data)
    assert discover(folder / "lib").problems == ()


@pytest.mark.parametrize(
    "data", [b"x = 1\r\ny = 2\r\n", b"x = 1\ry = 2", b"\xef\xbb\xbfx = 1\n", b"x = 1", b"x = 1\n\n", b"x = '\x0c'\n"]
)
def test_text_is_sent_as_cornserves_tool_sends_it(tmp_path: Path, data: bytes) -> None:
    """That tool takes it from ``inspect.getsource``, which takes it from `linecache`."""
    file = tmp_path / "a.py"
    file.write_bytes(data)
    assert as_sent(data.decode("utf-8")) == "".join(linecache.getlines(str(file)))


def test_what_is_no_regular_file_is_named_and_not_read(make_package: MakePackage) -> None:
    folder = make_package({"lib/a.py": TASK.format("A")}) / "lib"
    os.mkfifo(folder / "pipe.py")
    (folder / "dangling.py").symlink_to(folder / "nowhere.py")
    (folder / "device.py").symlink_to("/dev/zero")
    found = discover(folder)
    assert {(problem.module, problem.code, problem.severity) for problem in found.problems} == {
        (f"lib.{name}", "unreadable", "error") for name in ("pipe", "dangling", "device")
    }
    assert [(d.module, d.class_name) for d in found.definitions] == [("lib.a", "A")]


def test_links_to_folders_are_not_followed_and_named(make_package: MakePackage) -> None:
    """Python would import what is in them."""
    folder = make_package({"lib/x/a.py": TASK.format("A"), "out/b.py": TASK.format("B"), "texts/c.txt": ""})
    (folder / "lib/x/round").symlink_to(folder / "lib", target_is_directory=True)
    (folder / "lib/linked").symlink_to(folder / "out", target_is_directory=True)
    (folder / "lib/texts").symlink_to(folder / "texts", target_is_directory=True)
    package = discover(folder / "lib")
    assert [d.class_name for d in package.definitions] == ["A"]
    assert [(p.code, p.severity, p.module) for p in package.problems] == [
        ("directory-not-followed", "warning", "lib.linked"),
        ("directory-not-followed", "warning", "lib.x.round"),
    ]
    assert package.problems[0].message == "lib/linked is passed over: it is a link to a folder"
    assert discover(folder / "lib", PackageConfig(bases=BASES, exclude=("lib.linked", "lib.x.round"))).problems == ()


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("mödül.py", "has letters beyond ASCII: Python takes them, and taskroll wants ASCII"),
        ("class.py", "is a keyword of Python"),
        ("my file.py", "is not an identifier of ASCII letters, digits and underscores"),
        ("ünder/a.py", "has letters beyond ASCII: Python takes them, and taskroll wants ASCII"),
    ],
)
def test_a_package_without_tasks_names_what_was_passed_over(make_package: MakePackage, name: str, why: str) -> None:
    folder = make_package({"lib/a.py": "", f"lib/{name}": TASK.format("B")})
    passed_over = f"lib/{name.partition('/')[0]}"
    nothing, skipped = discover(folder / "lib").problems
    assert nothing.message.startswith("lib has no tasks: 1 module, 0 classes; ")
    assert nothing.message.endswith(f"; passed over: {passed_over}")
    assert skipped.message == f"{passed_over} is passed over: its name {why}"


def test_a_class_whose_name_is_not_ascii(make_package: MakePackage) -> None:
    (problem,) = discover(make_package({"lib/a.py": TASK.format("Ünï")}) / "lib").problems
    assert problem.message == (
        "the class name 'Ünï' has letters beyond ASCII: Python takes them, and taskroll wants ASCII"
    )
    assert problem.hint.startswith("Rename the class")
