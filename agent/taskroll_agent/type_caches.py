"""What `typing` and pydantic remember of a dropped generation's classes, and would keep it in memory by.

`typing` caches ``Optional[X]`` and the like in bounded LRU caches: up to 128 entries per form, each of which keeps the
class X, by its methods the globals of X's module, and by them the whole generation.

pydantic keeps ``Model[int]`` in a dictionary with weak values but strong keys ``(Model, (int,), …)``. Where a module
refers to ``Model[int]`` and Model has a method, the key keeps the value alive: such an entry never goes. In an ordinary
program modules live for ever and nobody notices.

Both are only caches: what is asked for again is made again. Neither has a public way to forget, so all of this is
careful to do nothing where the internals look different.
"""

import logging
import typing
import weakref
from collections.abc import Iterator
from contextvars import ContextVar
from operator import attrgetter
from typing import TYPE_CHECKING, Any

from pydantic._internal import _generics

if TYPE_CHECKING:
    from .module_set import ModuleSet

_log = logging.getLogger(__name__)

_dropped: "set[weakref.ref[ModuleSet]]" = set()
"""Dropped, but still in memory: looked at again each time, since code of theirs that runs on may fill the caches
anew. No lock and no WeakSet: a lease that the garbage collector ends comes here in the middle of anything."""


def forget(modules: "ModuleSet") -> None:
    """Take the classes of a generation that nobody uses any more out of the caches."""
    for cleanup in getattr(typing, "_cleanups", ()):  # what CPython's own test suite clears them by
        cleanup()
    _dropped.add(weakref.ref(modules, _dropped.discard))
    dropped = [known for ref in list(_dropped) if (known := ref()) is not None]
    try:
        _forget_generic_models(dropped)
    except Exception:  # noqa: BLE001  internals of another library; at worst some memory stays
        _log.debug("pydantic's cache of generic models could not be looked through", exc_info=True)


def _forget_generic_models(dropped: "list[ModuleSet]") -> None:
    cache: Any = getattr(_generics, "_GENERIC_TYPES_CACHE", None)
    if isinstance(cache, ContextVar):  # pydantic 2.11 to 2.13 has one per context
        cache = typing.cast("ContextVar[Any]", cache).get(None)
    if cache is None:
        return
    # Most keys are of no release: told by the names of modules, so that a flip does not wait for all to be compared.
    names = set[str]().union(*(modules.table for modules in dropped))
    for key in list(cache.keys()):
        classes = [cls for cls in _classes_in(key) if cls.__module__ in names]
        if any(_is_of(modules, cls) for cls in classes for modules in dropped):
            cache.pop(key, None)


def _classes_in(what: Any) -> Iterator[type[Any]]:
    """The classes in a cache key, and all that they inherit from."""
    if isinstance(what, type) and not typing.get_args(what):
        yield from what.__mro__
        return
    parts = typing.cast("tuple[Any, ...]", what if isinstance(what, tuple) else typing.get_args(what))
    for part in parts:
        yield from _classes_in(part)


def _is_of(modules: "ModuleSet", cls: type[Any]) -> bool:
    module = modules.table.get(cls.__module__)
    if module is None:
        return False
    try:
        return attrgetter(cls.__qualname__)(module) is cls
    except AttributeError:  # made inside a function, or parametrised: its bases tell
        return False
