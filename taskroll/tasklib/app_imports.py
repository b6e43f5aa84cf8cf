"""Which modules of a task library an app uses, from its text alone."""

from collections.abc import Collection, Mapping

from .import_graph import import_graph

_APP = "_the_app"
"""The app's own name in the graph: under none of the packages of the tasks."""


def uses_any(app: str, sources: Mapping[str, str], modules: Collection[str]) -> bool | None:
    """Whether an app imports one of these modules; None where its text does not tell.

    It does not where the text cannot be parsed, or imports by names that are made at run time.

    Args:
        app: the app's source.
        sources: module → text, of all definitions.
        modules: what to look for, together with all that imports them: so direct imports are enough.
    """
    graph = import_graph({**sources, _APP: app})
    if graph.imports_of(_APP) & set(modules):
        return True
    return None if _APP in graph.unreadable or _APP in graph.dynamic else False
