"""The files of a task package on disk: where its module names begin, which files are modules, and their texts."""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path

from .names import identifier_fault
from .package_config import PackageConfig
from .problems import Code, SourceProblem, error, warning
from .source_text import checked_text


class PackagePathError(ValueError):
    """The path is no task package. The message says what it is and which path to give instead."""


@dataclass(frozen=True, slots=True)
class ModuleFile:
    """One module of a package."""

    name: str
    path: Path
    is_package: bool
    """True of an ``__init__.py``."""
    text: str | None
    """As it goes into a resource; None where the file has a problem."""
    selected: bool
    """Whether it lies under the path that was asked for. The others are read so that bases can be found in them."""


@dataclass(frozen=True, slots=True)
class PackageFiles:
    root: Path
    """The folder that module names count from."""
    package: str
    """Dotted name of the folder that was asked for."""
    modules: tuple[ModuleFile, ...]
    problems: tuple[SourceProblem, ...]
    passed_over: tuple[Path, ...]
    """Files and folders, from the root, that were not read though they may have definitions; each has a problem."""


def read_package(path: Path, config: PackageConfig) -> PackageFiles:
    """Read the sources of the package folder `path`, with or without ``__init__.py`` in it.

    Raises:
        PackagePathError: where the path is no folder, or cannot be a package.
        OSError: where a file cannot be read.
    """
    folder = path.resolve()
    root = _source_root(path, folder, config)
    package = ".".join(folder.relative_to(root).parts)
    top = root / folder.relative_to(root).parts[0]
    modules: list[ModuleFile] = []
    problems: list[SourceProblem] = []
    passed_over: list[Path] = []
    for file, problem in _python_files(top, root):
        name = _module_name(file, root)
        selected = name == package or name.startswith(f"{package}.")
        if selected and any(_matches(name, pattern) for pattern in config.exclude):
            selected = False
        if problem is not None:
            if selected:
                problems.append(problem)
                passed_over.append((file.parent if file.name == "__init__.py" else file).relative_to(root))
            continue
        text, found = _read(file, name)
        problems += found if selected else []
        is_package = file.name == "__init__.py"
        modules.append(ModuleFile(name, file, is_package, None if text is None else as_sent(text), selected))
    return PackageFiles(root, package, tuple(modules), tuple(problems), tuple(passed_over))


def _read(file: Path, module: str) -> tuple[str | None, list[SourceProblem]]:
    if file.is_file():
        return checked_text(file.read_bytes(), module)
    # A pipe would be read for ever.
    message = f"{file.name} is no regular file, but a pipe, a device or a link that leads to none"
    return None, [error("unreadable", message, "Delete it, or leave it out with `exclude`.", module=module)]


def as_sent(text: str) -> str:
    """A file's text as Cornserve's tool sends it: no byte order mark, lines ended by LF, the last one too.

    ``inspect.getsource`` does that to it. Doing the same keeps digests equal, so that a package deployed by
    Cornserve's tool and again by taskroll shows no change.
    """
    text = text.removeprefix("\ufeff").replace("\r\n", "\n").replace("\r", "\n")
    return text if not text or text.endswith("\n") else text + "\n"


def _source_root(path: Path, folder: Path, config: PackageConfig) -> Path:
    if not folder.exists():
        raise PackagePathError(f"{path} does not exist; give the folder of a Python package")
    if not folder.is_dir():
        raise PackagePathError(f"{path} is a file; give the folder of the package that it belongs to: {path.parent}")
    if config.source_root is not None:
        root = config.path(config.source_root)
        if root == folder or root not in folder.parents:
            raise PackagePathError(
                f"{path} does not lie under the source_root {root} of {config.file}; give a folder in it, or correct it"
            )
    else:
        root = folder.parent
        while (root / "__init__.py").is_file():
            root = root.parent
    is_project = (folder / "pyproject.toml").is_file() and not (folder / "__init__.py").is_file()
    wrong = next((part for part in folder.relative_to(root).parts if identifier_fault(part)), None)
    if is_project or wrong is not None:
        inner = [str(path / name) for name in _packages_in(folder)]
        what = "is a project, not a package" if is_project else f"cannot be a package: {wrong!r} is no identifier"
        raise PackagePathError(
            f"{path} {what}; " + (f"packages in it: {', '.join(inner)}" if inner else "it has no packages in it")
        )
    return root


def _packages_in(folder: Path) -> list[str]:
    """Folders with Python files in or under them, as a suggestion; those in ``src`` where a project has that."""
    found: list[str] = []
    for child in sorted(folder.iterdir()):
        if child.is_dir() and identifier_fault(child.name) is None and next(child.rglob("*.py"), None):
            is_layout = child.name in ("src", "python") and next(child.glob("*.py"), None) is None
            found += [f"{child.name}/{name}" for name in _packages_in(child)] if is_layout else [child.name]
    return found


def _python_files(top: Path, root: Path) -> Iterator[tuple[Path, SourceProblem | None]]:
    """Python files under a folder, by name, with the reason where one cannot be a module.

    Links to folders are not followed: they may lead round in a circle.
    """
    for folder, folders, files in os.walk(top, followlinks=False):
        python = sorted(name for name in files if name.endswith(".py"))
        for name in python:
            file = Path(folder, name)
            fault = identifier_fault(file.stem)
            yield file, None if fault is None else _skipped("file-not-importable", file, root, f"its name {fault}")
        for name in sorted(folders):
            inner = Path(folder, name)
            fault = identifier_fault(name)
            if name.startswith(".") or not (fault or inner.is_symlink()) or not next(inner.rglob("*.py"), None):
                continue
            yield (
                inner / "__init__.py",
                _skipped("directory-not-importable", inner, root, f"its name {fault}")
                if fault
                else _linked(inner, root),
            )
        folders[:] = sorted(name for name in folders if not identifier_fault(name) and name != "__pycache__")


def _skipped(code: Code, path: Path, root: Path, reason: str) -> SourceProblem:
    message = f"{path.relative_to(root)} is passed over: {reason}"
    return warning(code, message, "Rename it if it has definitions.")


def _linked(folder: Path, root: Path) -> SourceProblem:
    """Python would import what is in it."""
    message = f"{folder.relative_to(root)} is passed over: it is a link to a folder"
    hint = "Put the folder itself there if it has definitions, or leave it out with `exclude`."
    return warning("directory-not-followed", message, hint, module=".".join(folder.relative_to(root).parts))


def _module_name(file: Path, root: Path) -> str:
    parts = file.relative_to(root).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def _matches(name: str, pattern: str) -> bool:
    return fnmatchcase(name, pattern) or fnmatchcase(name, f"{pattern}.*")
