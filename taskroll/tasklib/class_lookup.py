"""What the classes of a package derive from, found in their texts with griffe's static visitor. Nothing is imported.

griffe's own loader is not used: it reads files by itself, so a source could differ from the one that is sent; it
passes over a file with a syntax error; and it asks Git about each package. Its visitor, given the text, does not.
"""

import logging
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import griffe

from .package_config import TaskBases
from .package_files import ModuleFile

BaseKind = Literal["unit", "composite", "descriptor"]
Expression = griffe.Expr | str

# Classes of these derive from no task, and they are the most frequent bases: not worth reading.
_NOT_READ = sys.stdlib_module_names | {"pydantic", "pydantic_core", "typing_extensions"}
_GENERIC = {"typing.Generic", "typing_extensions.Generic", "typing.Protocol", "typing_extensions.Protocol"}
_MAX_HOPS = 64

# griffe logs what it cannot make sense of; where the program has set up no logging that would land on the terminal.
logging.getLogger("griffe").addHandler(logging.NullHandler())


@dataclass(frozen=True, slots=True)
class Argument:
    """One expression of a subscript, with the module in whose scope it stands."""

    module: griffe.Module
    expression: Expression
    is_variable: bool = False
    """Whether it is a type variable of the class that derives."""


@dataclass(frozen=True, slots=True)
class Found:
    """What a dotted name leads to: all paths on the way, and the class at the end where its source could be read."""

    paths: tuple[str, ...]
    target: griffe.Class | None
    arguments: tuple[Argument, ...] = ()
    """Of the subscript, in ``Base[A, B]``."""


class ClassLookup:
    """Classes of a package and of what it imports.

    Args:
        modules: of the package; those without a text are as good as absent.
        bases: the wanted base classes.
        search_paths: where modules outside of the package are looked for. A module that is not there is no error: its
            names are then known by the path under which they are imported.
    """

    def __init__(self, modules: Sequence[ModuleFile], bases: TaskBases, search_paths: Iterable[Path]) -> None:
        self._collection = griffe.ModulesCollection()
        self._lines = griffe.LinesCollection()
        self._extensions = griffe.Extensions()
        self._search_paths = tuple(search_paths)
        self._configured = bases.all()
        self._modules: dict[str, griffe.Module | None] = {}
        self._roots = frozenset(file.name.partition(".")[0] for file in modules)
        self.too_deep: set[str] = set()
        """Modules of the package that Python can parse and griffe cannot visit: their classes are not known."""
        for file in modules:
            if file.text is not None:
                try:
                    self._modules[file.name] = self._visit(file.name, file.path, file.text)
                except RecursionError:
                    self.too_deep.add(file.name)
        self._wanted: Mapping[BaseKind, frozenset[str]] = {
            "unit": self._all_paths(bases.unit_task),
            "composite": self._all_paths(bases.composite_task),
            "descriptor": self._all_paths(bases.descriptor),
        }

    def classes(self, module: str) -> list[griffe.Class]:
        """Classes defined at the top level of a module of the package, in the order of the text."""
        found = self._modules.get(module)
        members = found.members.values() if found is not None else ()
        return [member for member in members if isinstance(member, griffe.Class)]

    def kind(self, cls: griffe.Class) -> BaseKind | None:
        """What a class is by its bases; None also for the wanted base classes themselves."""
        order: tuple[BaseKind, ...] = ("unit", "composite", "descriptor")
        if any(cls.path in self._wanted[kind] for kind in order):
            return None
        ancestors = {path for found in self._ancestors(cls) for path in found.paths}
        return next((kind for kind in order if ancestors & self._wanted[kind]), None)

    def base_names(self, cls: griffe.Class) -> list[str]:
        """The direct bases of a class by their last known path, for a message."""
        return [self._follow(cls.module, base).paths[-1] for base in cls.bases]

    def described_task(self, descriptor: griffe.Class) -> str | None:
        """Name of the class that a descriptor is for: the first argument of its base, ``Descriptor[Task, …]``.

        None where there is none, or where it is still a type variable.
        """
        arguments = self._base_arguments(descriptor, frozenset())
        if not arguments or arguments[0].is_variable:
            return None
        first = self._follow(arguments[0].module, arguments[0].expression)
        if first.target is not None:
            return first.target.name
        name = first.paths[-1].rpartition(".")[2]
        return name if name.isidentifier() and not self._is_type_variable(first.paths[-1]) else None

    def type_parameters(self, cls: griffe.Class) -> list[str]:
        """Names of the type variables that a class declares, as ``class C[T]`` or with ``Generic[T]``, in order."""
        if cls.type_parameters:
            return [parameter.name for parameter in cls.type_parameters]
        for base in cls.bases:
            if isinstance(base, griffe.ExprSubscript) and _GENERIC.intersection(self._follow(cls.module, base).paths):
                return [str(element) for element in _elements(base.slice)]
        return []

    def _base_arguments(self, cls: griffe.Class, seen: frozenset[str]) -> tuple[Argument, ...]:
        """Arguments that reach the descriptor base, through generic classes in between."""
        if cls.path in seen:
            return ()
        variables = self.type_parameters(cls)
        for base in cls.bases:
            found = self._follow(cls.module, base)
            arguments = tuple(replace(a, is_variable=str(a.expression) in variables) for a in found.arguments)
            if self._wanted["descriptor"].intersection(found.paths):
                return arguments
            if found.target is None:
                continue
            if inner := self._base_arguments(found.target, seen | {cls.path}):
                given = dict(zip(self.type_parameters(found.target), arguments, strict=False))
                return tuple(given.get(str(a.expression), a) if a.is_variable else a for a in inner)
        return ()

    def _is_type_variable(self, path: str) -> bool:
        """Whether a path ends at ``T = TypeVar(…)``."""
        module, _, name = path.rpartition(".")
        found = self._module(module) if module else None
        value = found.members.get(name) if found is not None else None
        if isinstance(value, griffe.Attribute) and isinstance(value.value, griffe.ExprCall):
            return str(value.value.function).rpartition(".")[2] in ("TypeVar", "ParamSpec", "TypeVarTuple")
        return False

    def _ancestors(self, cls: griffe.Class) -> Iterator[Found]:
        seen: set[str] = set()
        waiting = [cls]
        while waiting:
            current = waiting.pop()
            if current.path in seen:
                continue
            seen.add(current.path)
            for base in current.bases:
                found = self._follow(current.module, base)
                yield found
                if found.target is not None:
                    waiting.append(found.target)

    def _all_paths(self, configured: Iterable[str]) -> frozenset[str]:
        """The configured paths and those that they are re-exports of."""
        return frozenset(path for name in configured for path in self._resolve(name).paths)

    def _follow(self, module: griffe.Module, expression: Expression) -> Found:
        """What an expression in the scope of a module leads to."""
        if isinstance(expression, griffe.ExprSubscript):
            found = self._follow(module, expression.left)
            arguments = tuple(Argument(module, element) for element in _elements(expression.slice))
            return Found(found.paths, found.target, arguments)
        dotted = str(expression).strip("'\"")
        if not _is_dotted(dotted):
            return Found((dotted,), None)
        return self._resolve(f"{module.path}.{dotted}", dotted)

    def _resolve(self, path: str, written: str | None = None) -> Found:
        """Follow a dotted path through modules, imports, re-exports and plain assignments.

        Args:
            path: absolute.
            written: the name as it stands in the module, where `path` was made from one.
        """
        paths = [path]
        arguments: tuple[Argument, ...] = ()
        for _ in range(_MAX_HOPS):
            module, rest = self._split(paths[-1])
            member = module.members.get(rest[0]) if module is not None and rest else None
            if module is None or not rest:
                break
            if isinstance(member, griffe.Alias) and member.wildcard is None:
                paths.append(".".join([member.target_path, *rest[1:]]))
            elif isinstance(member, griffe.Class):
                target = _inner_class(member, rest[1:])
                return Found(tuple(paths), target, arguments)
            elif isinstance(member, griffe.Attribute) and isinstance(member.value, griffe.Expr) and not rest[1:]:
                value: Expression = member.value
                if isinstance(value, griffe.ExprSubscript):
                    arguments = arguments or tuple(Argument(module, element) for element in _elements(value.slice))
                    value = value.left
                written = str(value)
                if not _is_dotted(written):
                    break
                paths.append(f"{module.path}.{written}")
            elif (through := self._through_wildcard(module, rest, frozenset())) is not None:
                paths.append(through)
            else:
                # Not a name of the module: one of Python's own, or one that an unreadable `import *` brought.
                if written is not None and paths[-1] == f"{module.path}.{written}":
                    paths.append(written)
                break
        return Found(tuple(paths), None, arguments)

    def _through_wildcard(self, module: griffe.Module, rest: list[str], seen: frozenset[str]) -> str | None:
        """The path that a name has through one of the module's ``import *``."""
        if module.path in seen or rest[0] in module.members:
            return None
        wildcards = [m.wildcard for m in module.members.values() if isinstance(m, griffe.Alias) and m.wildcard]
        for source in reversed(wildcards):
            path = ".".join([source, *rest])
            imported = self._module(source)
            if imported is None:
                if path in self._configured:
                    return path
            elif rest[0] in imported.members or self._through_wildcard(imported, rest, seen | {module.path}):
                return path
        return None

    def _split(self, path: str) -> tuple[griffe.Module | None, list[str]]:
        """The longest beginning of a path that is a module, and the rest."""
        parts = path.split(".")
        for length in range(len(parts), 0, -1):
            if (module := self._module(".".join(parts[:length]))) is not None:
                return module, parts[length:]
        return None, parts

    def _module(self, name: str) -> griffe.Module | None:
        if name not in self._modules:
            self._modules[name] = self._read_outside(name)
        return self._modules[name]

    def _read_outside(self, name: str) -> griffe.Module | None:
        """Read one module of another package from the search paths; None where that cannot be done."""
        root = name.partition(".")[0]
        if root in _NOT_READ or root in self._roots:
            return None
        place = Path(*name.split("."))
        for folder in self._search_paths:
            for file in (folder / place / "__init__.py", folder / place.with_suffix(".py")):
                if file.is_file():
                    try:
                        return self._visit(name, file, file.read_text(encoding="utf-8"))
                    except (OSError, ValueError, SyntaxError, RecursionError):
                        return None
        return None

    def _visit(self, name: str, path: Path, text: str) -> griffe.Module:
        """griffe takes the package of a relative import from a module's parents: it gets bare ones."""
        parent: griffe.Module | None = None
        *packages, last = name.split(".")
        for package in packages:
            folder = Path("__init__.py")
            parent = griffe.Module(package, filepath=folder, parent=parent, modules_collection=self._collection)
        return griffe.visit(
            last,
            path,
            text,
            extensions=self._extensions,
            parent=parent,
            lines_collection=self._lines,
            modules_collection=self._collection,
        )


def _is_dotted(text: str) -> bool:
    return all(part.isidentifier() for part in text.split("."))


def _inner_class(cls: griffe.Class, names: list[str]) -> griffe.Class | None:
    for name in names:
        inner = cls.members.get(name)
        if not isinstance(inner, griffe.Class):
            return None
        cls = inner
    return cls


def _elements(piece: Expression) -> list[Expression]:
    return list(piece.elements) if isinstance(piece, griffe.ExprTuple) else [piece]
