"""The closure of a change: what changed, and all that import it, directly or through others."""

from collections.abc import Collection, Iterable

from taskroll_agent.contracts import DefinitionContent

from .import_graph import ImportGraph


def closure(graph: ImportGraph, changed: Collection[str]) -> set[str]:
    """The changed modules and those that import them, transitively."""
    return set(reached_through([graph], changed))


def closure_of_change(before: ImportGraph, after: ImportGraph, changed: Collection[str]) -> set[str]:
    """As `closure`, over the imports before and after the change together.

    A module that imported a changed one only before the change still holds its old classes while the change goes on;
    one that imports it only after the change is itself changed.
    """
    return set(reached_through([before, after], changed))


def reached_through(graphs: Collection[ImportGraph], changed: Collection[str]) -> dict[str, str | None]:
    """Each module of the closure → the module through whose import it came in; None for the changed ones themselves.

    Following the values leads back to a changed module, by a shortest way: that is how a plan says why.
    """
    through: dict[str, str | None] = dict.fromkeys(sorted(changed))
    front = list(through)
    while front:
        following: list[str] = []
        for module in front:
            for importer in sorted({name for graph in graphs for name in graph.importers_of(module)}):
                if importer not in through:
                    through[importer] = module
                    following.append(importer)
        front = following
    return through


def sources_of(definitions: Iterable[DefinitionContent]) -> dict[str, str]:
    """Module name → text, for `import_graph`.

    Of several definitions of one module the first counts, as it does in a service that starts; that they differ, and
    sources that are no text, are findings of `check_sources`, so those are passed over here.
    """
    sources: dict[str, str] = {}
    for definition in definitions:
        try:
            text = definition.source().decode("utf-8")
        except ValueError:
            continue
        sources.setdefault(definition.module, text)
    return sources


def changed_modules(before: Iterable[DefinitionContent], after: Iterable[DefinitionContent]) -> set[str]:
    """Modules of the definitions that are created, deleted, or differ in digest; both modules of one that moved."""
    old = {definition.key: definition for definition in before}
    new = {definition.key: definition for definition in after}
    changed = {key for key in old.keys() | new.keys() if _digest(old.get(key)) != _digest(new.get(key))}
    return {side[key].module for key in changed for side in (old, new) if key in side}


def _digest(definition: DefinitionContent | None) -> str | None:
    return None if definition is None else definition.digest()
