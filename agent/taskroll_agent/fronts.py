"""What `sys.modules` shows under a released module's name: a front that answers for the generation of whoever asks.

The modules of a generation never stand in `sys.modules` themselves. Two generations have modules of the same names,
and the one dictionary would have to name one of them: during a load it would show half-loaded modules to all other
threads, after a flip it would show new classes to calls that still run on old ones. Yet much of Python looks there:
pickle finds classes by name, dataclasses, pydantic and `typing.get_type_hints` find the globals for annotations,
`inspect` the source.

So `sys.modules[name]` holds a `ModuleFront`. Each attribute access on it, ``__dict__`` included, goes to the module of
that name in (1) the generation that this context loads, (2) the generation that this context holds a lease on, (3) the
current one. A flip changes (3) by the assignment in the registry; nothing is written here unless names came or went.

A front stands under a name exactly while the current generation, or one being loaded, has a module of that name. An
ordinary module that was there before is kept aside and put back afterwards.
"""

import sys
import threading
from collections import Counter
from collections.abc import Generator, Iterable
from contextlib import contextmanager
from types import ModuleType
from typing import TYPE_CHECKING, Any, Protocol

from .viewpoint import VIEW, View

if TYPE_CHECKING:
    from .module_set import ModuleSet


class CurrentModules(Protocol):
    """Something that has a current generation: a registry."""

    @property
    def current_modules(self) -> "ModuleSet": ...


_lock = threading.RLock()
_wanted: Counter[str] = Counter()
_displaced: dict[str, ModuleType] = {}
_sources: list[CurrentModules] = []
"""Usually one. Where a process has several registries, the one that flipped last answers for a name that more have."""


class ModuleFront(ModuleType):
    """Stands in `sys.modules` for the released modules of one name."""

    def __getattribute__(self, attribute: str) -> Any:
        if attribute == "__class__":
            return ModuleFront
        name = _own_name(self)
        module = shown(name)
        if module is not None:
            return _front_of(getattr(module, attribute))
        if attribute in ("__name__", "__dict__"):
            return ModuleType.__getattribute__(self, attribute)
        raise AttributeError(f"module {name!r} is not part of the current generation", name=attribute)

    def __setattr__(self, attribute: str, value: Any) -> None:
        setattr(_present(self), attribute, value)

    def __delattr__(self, attribute: str) -> None:
        delattr(_present(self), attribute)

    def __dir__(self) -> list[str]:
        return dir(_present(self))


def _front_of(value: Any) -> Any:
    """The front of a released module got as an attribute of its package, so that who keeps it follows the flip."""
    if isinstance(value, ModuleType) and not isinstance(value, ModuleFront):
        front = sys.modules.get(value.__name__)
        if isinstance(front, ModuleFront) and shown(value.__name__) is value:
            return front
    return value


def _own_name(front: ModuleFront) -> str:
    return ModuleType.__getattribute__(front, "__name__")


def _present(front: ModuleFront) -> ModuleType:
    name = _own_name(front)
    module = shown(name)
    if module is None:
        raise AttributeError(f"module {name!r} is not part of the current generation")
    return module


def shown(name: str) -> ModuleType | None:
    """The module that `name` means to the running code, or None."""
    view = VIEW.get()
    while view is not None:
        # A view that knows the package decides alone: a module that its generation lacks must not appear from another.
        if view.modules is not None and view.modules.owns(name):
            return view.modules.table.get(name) or _displaced.get(name)
        view = view.outer
    for source in reversed(_sources):
        module = source.current_modules.table.get(name)
        if module is not None:
            return module
    return _displaced.get(name)


def ordinary(name: str) -> ModuleType | None:
    """The module of that name which no release brought, where the process has one."""
    module = sys.modules.get(name)
    return _displaced.get(name) if isinstance(module, ModuleFront) else module


def show(names: Iterable[str]) -> None:
    """Put fronts under these names."""
    with _lock:
        for name in names:
            _wanted[name] += 1
            present = sys.modules.get(name)
            if isinstance(present, ModuleFront):
                continue
            if present is not None:
                _displaced[name] = present
            sys.modules[name] = ModuleFront(name)


def hide(names: Iterable[str]) -> None:
    """Undo one `show`; the last one puts back what was there before."""
    with _lock:
        for name in names:
            _wanted[name] -= 1
            if _wanted[name] > 0:
                continue
            del _wanted[name]
            former = _displaced.pop(name, None)
            if not isinstance(sys.modules.get(name), ModuleFront):
                continue
            if former is not None:
                sys.modules[name] = former
            else:
                del sys.modules[name]


def put_back(names: Iterable[str]) -> set[str]:
    """Put a front wherever the code of a module has put something else; return those names."""
    replaced: set[str] = set()
    with _lock:
        for name in names:
            if name in _wanted and not isinstance(sys.modules.get(name), ModuleFront):
                sys.modules[name] = ModuleFront(name)
                replaced.add(name)
    return replaced


def put_last(source: CurrentModules) -> None:
    """From now on this registry answers first."""
    with _lock:
        _sources[:] = [*(other for other in _sources if other is not source), source]


def remove(source: CurrentModules) -> None:
    """This registry answers no more."""
    with _lock:
        _sources[:] = [other for other in _sources if other is not source]


@contextmanager
def loading(modules: "ModuleSet") -> Generator[None]:
    """In this context the names of `modules` mean its own modules; all others go on seeing what they saw."""
    names = modules.names
    show(names)
    token = VIEW.set(View(modules, None))
    try:
        yield
    finally:
        VIEW.reset(token)
        hide(names)
