"""Checks of what definitions import from each other."""

from collections.abc import Collection

from .import_graph import ImportGraph, UnprovidedImport
from .names import listed, shown
from .problems import SourceProblem, error, warning


def import_problems(graph: ImportGraph, provided: Collection[str]) -> list[SourceProblem]:
    """Imports that services cannot carry out, cycles, and imports that cannot be read from the text.

    Args:
        graph: of all definitions' sources.
        provided: modules, with all that is under them, that are there although the graph does not have them.
    """
    problems: list[SourceProblem] = []
    for missing in graph.unprovided:
        parts = missing.name.split(".")
        if not any(".".join(parts[:length]) in provided for length in range(1, len(parts) + 1)):
            problems += _unprovided(missing)
    for cycle in graph.import_cycles():
        message = f"modules import each other while they are imported: {listed(cycle, ' → ')}"
        hint = "Move what both need into a module of its own, or import inside of the function that needs it."
        problems.append(warning("import-cycle", message, hint, module=cycle[0]))
    for module, lines in graph.dynamic.items():
        message = "it imports by a name that is not a literal, so what it depends on cannot be seen"
        hint = "Import by a literal name, or deploy together what must change together."
        problems.append(warning("import-not-readable", message, hint, module=module, line=lines[0]))
    return problems


def _unprovided(missing: UnprovidedImport) -> list[SourceProblem]:
    name, module, line = shown(missing.name), missing.importer, missing.line
    if missing.name.startswith("."):
        message = f"it imports {name}, which lies beyond its top-level package"
        return [error("import-not-provided", message, "Correct the number of dots.", module=module, line=line)]
    hint = (
        "Only modules with a task or a descriptor reach the services, and packages arrive empty: import from the "
        "module that defines it, move the code there, or, if services have it installed, name it under "
        "`provided` of [tool.taskroll] (docs/package.md)."
    )
    message = f"it imports {name}, which no definition provides"
    match missing.kind:
        case "runtime":
            message += ": services could not import the module"
            return [error("import-not-provided", message, hint, module=module, line=line)]
        case "guarded":
            message += ": in services the import fails and its except branch runs"
        case "deferred":
            message += ": in services the function that does so would fail"
        case "not_run":
            return []
    return [warning("import-not-provided", message, hint, module=module, line=line)]
