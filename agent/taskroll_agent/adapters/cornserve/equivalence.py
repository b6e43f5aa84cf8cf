"""Tasks of two generations compared.

Every release loads all modules anew, also those that it does not change. A call or a deployment that was on its way
when the process flipped has a task of the former class, and Cornserve would take it for a different task: a call would
fail, a teardown would leak. Where the sources of the class are the same in both generations, it is compared as one of
the other. Where they are not, the tasks do differ, and nothing is hidden.
"""

from typing import Any

from taskroll_agent.generation import Generation
from taskroll_agent.registry import Registry

from .conversion import NotConvertible, converted


def counterpart(other: Any, of: Any, registry: Registry) -> Any:
    """`other` as a task of the class of `of`, where both classes are of the same sources; else `other` itself."""
    mine: Any = of.__class__
    theirs: Any = other.__class__
    if mine is theirs or (mine.__module__, mine.__qualname__) != (theirs.__module__, theirs.__qualname__):
        return other
    here, there = registry.home_of(mine), registry.home_of(theirs)
    if here is None or there is None or not _same_sources(mine, here, there):
        return other
    try:
        return converted(other, mine)
    except NotConvertible:
        return other


def _same_sources(cls: type[Any], one: Generation, other: Generation) -> bool:
    names = {base.__module__ for base in cls.__mro__ if base.__module__ in one.module_set.sources}
    return all(one.module_set.sources[name] is other.module_set.sources.get(name) for name in names)
