"""The import graph of a set of sources, from their texts alone: no files, no installed packages, nothing run.

Why not grimp: it reads packages from disk through the import system, so texts would have to be written to a folder
that is put on ``sys.path``, which a worker with threads cannot do safely, and one file with a syntax error ends it. Of
22 ways to import, 22 are read right here and 15 by grimp 3.19 (not by it: ``import_module`` and ``__import__`` with a
literal, uses through a package, folders without ``__init__.py``).
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from .source_facts import Fault, ImportKind, ImportStatement, SourceFacts, read_sources


@dataclass(frozen=True, slots=True, order=True)
class ImportEdge:
    """One module of the set imports another one of it."""

    importer: str
    imported: str
    line: int
    kind: ImportKind


@dataclass(frozen=True, slots=True, order=True)
class UnprovidedImport:
    """An import under a package of the set that no module of the set provides."""

    importer: str
    name: str
    line: int
    kind: ImportKind


@dataclass(frozen=True)
class ImportGraph:
    """Which modules of a set import which. `edges` has one for each pair of modules, of the kind that counts most."""

    modules: frozenset[str]
    edges: tuple[ImportEdge, ...]
    unprovided: tuple[UnprovidedImport, ...]
    unreadable: Mapping[str, Fault]
    """Modules whose source could not be parsed: what they import is not known, so they have no edges."""
    dynamic: Mapping[str, tuple[int, ...]]
    """Lines where a module imports by a name that is not a literal: what that reaches is not known."""
    _importers: Mapping[str, frozenset[str]] = field(repr=False)
    _imports: Mapping[str, frozenset[str]] = field(repr=False)

    def imports_of(self, module: str) -> frozenset[str]:
        """Modules of the set that a module imports, in any way."""
        return self._imports.get(module, frozenset())

    def importers_of(self, module: str) -> frozenset[str]:
        """Modules of the set that import a module, in any way."""
        return self._importers.get(module, frozenset())

    def import_order(self) -> list[str]:
        """All modules, each after those that it imports when it is itself imported; by name where that leaves a choice.

        Members of a cycle stand next to each other, by name.
        """
        return [module for group in _components(self.modules, self._at_import()) for module in sorted(group)]

    def import_cycles(self) -> list[list[str]]:
        """Cycles of imports that run when modules are imported, one for each knot: ``[a, b, a]``, least name first."""
        at_import = self._at_import()
        knots = [group for group in _components(self.modules, at_import) if len(group) > 1]
        return sorted(_one_cycle(min(knot), knot, at_import) for knot in knots)

    def _at_import(self) -> dict[str, set[str]]:
        found: dict[str, set[str]] = {module: set() for module in self.modules}
        for edge in self.edges:
            if edge.kind in ("runtime", "guarded"):
                found[edge.importer].add(edge.imported)
        return found


_STRENGTH: dict[ImportKind, int] = {"runtime": 0, "guarded": 1, "deferred": 2, "not_run": 3}


def import_graph(sources: Mapping[str, str], facts: Mapping[str, SourceFacts] | None = None) -> ImportGraph:
    """The graph of a set: module name → text.

    Counted as imports: absolute and relative ones, ``from package import module``, ``from module import *``, those in
    functions, those under ``TYPE_CHECKING``, ``import_module("literal")``, and dotted uses such as
    ``package.module.name``. Those that never run in a service are counted too, since a closure that is too large costs
    a little and one that is too small mixes versions; they do not count for cycles and order. A module counts as a
    package where another one of the set stands under it; packages without a source in the set are empty, as they are
    in services. Not seen: names built at run time, ``exec``, and classes found by their name in a registry.

    Args:
        sources: module name → text.
        facts: of the texts, where the caller has read them already.
    """
    known = facts if facts is not None else read_sources(sources.values())
    place = _Places(sources)
    edges: dict[tuple[str, str], ImportEdge] = {}
    unprovided: dict[tuple[str, str], UnprovidedImport] = {}
    for module, text in sorted(sources.items()):
        for name, statement in _targets(known[text], module, place):
            reached, missing = place.reached(name)
            for target in reached - {module}:
                edge = ImportEdge(module, target, statement.line, statement.kind)
                held = edges.get((module, target))
                if held is None or _STRENGTH[edge.kind] < _STRENGTH[held.kind]:
                    edges[module, target] = edge
            if missing and name != module:
                absent = UnprovidedImport(module, name, statement.line, statement.kind)
                other = unprovided.get((module, name))
                if other is None or _STRENGTH[absent.kind] < _STRENGTH[other.kind]:
                    unprovided[module, name] = absent
        for name in _uses(known[text], module, place):
            for target in place.reached(name)[0] - {module}:
                edges.setdefault((module, target), ImportEdge(module, target, 0, "deferred"))
    importers: defaultdict[str, set[str]] = defaultdict(set)
    imports: defaultdict[str, set[str]] = defaultdict(set)
    for edge in edges.values():
        importers[edge.imported].add(edge.importer)
        imports[edge.importer].add(edge.imported)
    for module in sources:
        # A package's own source runs before each of its modules.
        for parent in _parents(module):
            if parent in sources:
                importers[parent].add(module)
                imports[module].add(parent)
    readable = {module: known[text] for module, text in sources.items()}
    return ImportGraph(
        modules=frozenset(sources),
        edges=tuple(sorted(edges.values())),
        unprovided=tuple(sorted(unprovided.values())),
        unreadable={module: facts.fault for module, facts in sorted(readable.items()) if facts.fault is not None},
        dynamic={m: facts.unreadable_imports for m, facts in sorted(readable.items()) if facts.unreadable_imports},
        _importers={module: frozenset(found) for module, found in importers.items()},
        _imports={module: frozenset(found) for module, found in imports.items()},
    )


class _Places:
    """What a dotted name reaches in a set of modules."""

    def __init__(self, modules: Iterable[str]) -> None:
        self.modules = frozenset(modules)
        self.packages = frozenset(parent for module in self.modules for parent in _parents(module))
        self.roots = frozenset(module.partition(".")[0] for module in self.modules)

    def package_of(self, module: str, level: int) -> str | None:
        """The package that ``level`` dots name in a module; None beyond the topmost one, where Python refuses."""
        parts = module.split(".")
        up = level - 1 if module in self.packages else level
        return ".".join(parts[: len(parts) - up]) if up < len(parts) else None

    def reached(self, name: str) -> tuple[set[str], bool]:
        """Modules of the set that importing the name runs, and whether the set should have the name and lacks it."""
        if name.startswith("."):
            return set(), True
        reached = {parent for parent in _parents(name) if parent in self.modules}
        if name in self.modules:
            return reached | {name}, False
        return reached, name not in self.packages and name.partition(".")[0] in self.roots

    def longest(self, path: str) -> str | None:
        """The longest beginning of a dotted path that is a module of the set."""
        return next((part for part in (path, *_parents(path)) if part in self.modules), None)


def _targets(facts: SourceFacts, module: str, place: _Places) -> Iterator[tuple[str, ImportStatement]]:
    """The dotted names that the import statements of a module name, made absolute."""
    for statement in facts.imports:
        base = statement.module
        if statement.level:
            package = place.package_of(module, statement.level)
            if package is None:
                # Kept as it is written, dots and all.
                yield "." * statement.level + base, statement
                continue
            base = f"{package}.{base}".rstrip(".")
        if statement.names is None:
            yield base, statement
            continue
        for name in statement.names:
            full = f"{base}.{name}"
            if name == "*" or (base in place.modules and full not in place.modules and full not in place.packages):
                yield base, statement
            else:
                yield full, statement


def _uses(facts: SourceFacts, module: str, place: _Places) -> Iterator[str]:
    for level, path in facts.attributes:
        package = place.package_of(module, level) if level else ""
        if package is not None and (found := place.longest(f"{package}.{path}".strip("."))) is not None:
            yield found


def _parents(name: str) -> Iterator[str]:
    """``a.b.c`` → ``a.b``, ``a``."""
    while "." in name:
        name = name.rpartition(".")[0]
        yield name


def _components(modules: Iterable[str], imports: Mapping[str, set[str]]) -> list[list[str]]:
    """Strongly connected components, imported ones first (Tarjan, without recursion: the set may be a long chain)."""
    index: dict[str, int] = {}
    low: dict[str, int] = {}
    open_nodes: list[str] = []
    is_open: set[str] = set()
    done: list[list[str]] = []
    for start in sorted(modules):
        if start in index:
            continue
        work: list[tuple[str, Iterator[str]]] = []
        node: str | None = start
        while node is not None or work:
            if node is not None:
                index[node] = low[node] = len(index)
                open_nodes.append(node)
                is_open.add(node)
                work.append((node, iter(sorted(imports[node]))))
                node = None
            current, rest = work[-1]
            for neighbour in rest:
                if neighbour not in index:
                    node = neighbour
                    break
                if neighbour in is_open:
                    low[current] = min(low[current], index[neighbour])
            if node is not None:
                continue
            work.pop()
            if work:
                low[work[-1][0]] = min(low[work[-1][0]], low[current])
            if low[current] == index[current]:
                group: list[str] = []
                while not group or group[-1] != current:
                    group.append(open_nodes.pop())
                    is_open.discard(group[-1])
                done.append(group)
    return done


def _one_cycle(start: str, knot: Iterable[str], imports: Mapping[str, set[str]]) -> list[str]:
    """A shortest cycle through `start` inside of a knot."""
    members = set(knot)
    came_from: dict[str, str] = {}
    front = [start]
    while front:
        following: list[str] = []
        for module in front:
            for target in sorted(imports[module] & members):
                if target == start:
                    cycle = [module, start]
                    while cycle[0] != start:
                        cycle.insert(0, came_from[cycle[0]])
                    return cycle
                if target not in came_from:
                    came_from[target] = module
                    following.append(target)
        front = following
    return [start, start]
