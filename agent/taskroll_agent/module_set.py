"""The modules of one generation, importing each other inside the generation.

How it works: each module's globals carry a ``__builtins__`` dictionary of this set, in which ``__import__`` is the
set's own. Python takes ``__import__`` from there for every import statement of the module's code and of all functions
defined in it, at whatever time they run. So a late import inside a function of an old generation finds the old
generation's modules, and no thread-local state, import hook or rewritten source is needed. `importlib.import_module`
is an ordinary function that knows nothing of its caller; a module that says ``import importlib`` therefore gets a
stand-in whose `import_module` asks this set first. Parent packages that no definition provides are made here; where
the process has an ordinary package of that name, the made one shows through to it. Everything outside of the set is
imported in the ordinary way.

Limits, each for code that goes around import statements:

- ``sys.modules[name]``, and importing done by code outside the release on a generation's behalf, show the generation
  of the caller's lease, or the current one without a lease (see `fronts`); so does unpickling. An instance of an old
  class pickles under a lease of its generation; without one pickle refuses it («not the same object»).
- ``__builtins__`` is a copy: a builtin patched process-wide after the load is not seen.
- There are no files: ``__file__`` names none, ``__path__`` is empty (or the ordinary package's), package data is not
  found.
- What module code does to the process when it is run (threads, atexit, entries in registries of other libraries,
  ``Base.__subclasses__()``) it does once per generation, and when that is prepared rather than when it is activated.
- A released module that is a package of its own source hides an ordinary package of the same name.
"""

import builtins
import importlib
import importlib.abc
import importlib.util
from collections.abc import Mapping, Sequence
from importlib.machinery import ModuleSpec
from types import CodeType, ModuleType
from typing import Any

from . import fronts
from .module_source import ModuleSource


class NotLoaded(ImportError):
    """A module that this one imports did not load; the cause is reported there."""


class Abandoned(BaseException):
    """The load took too long and nobody waits for it any more. Not an Exception: module code must not catch it."""


class SourceLoader(importlib.abc.InspectLoader):
    """``__loader__`` of a released module: gives its source and code to whoever asks, and loads nothing."""

    def __init__(self, source: ModuleSource, is_package: bool) -> None:
        self.source = source
        self._is_package = is_package

    def get_source(self, fullname: str) -> str:
        return self.source.text

    def get_code(self, fullname: str) -> CodeType:
        return self.source.code

    def is_package(self, fullname: str) -> bool:
        return self._is_package

    def exec_module(self, module: ModuleType) -> None:
        raise ImportError(f"{module.__name__} is released by taskroll and cannot be reloaded", name=module.__name__)


class ModuleSet:
    """The modules of one generation by name: released ones, and the packages made to hold them."""

    def __init__(self, sources: Mapping[str, ModuleSource]) -> None:
        self.sources = sources
        self.table: dict[str, ModuleType] = {}
        self.failures: dict[str, BaseException] = {}
        """Module → the error that its own code ended with, for the caller to explain and clear; `NotLoaded` where that
        arose in a module that it imports."""
        self.cut_short: list[str] = []
        """Modules that failed since they wanted something of one that was not done yet: an import cycle, entered at
        the wrong end."""
        self.abandoned = False
        self.running: list[str] = []
        """Modules whose code runs at this moment, the innermost last."""
        self.generation: object = None
        """The generation that these became, once they are loaded."""
        parents = {name[:at] for name in sources for at, char in enumerate(name) if char == "."}
        self._packages = parents
        self.names = frozenset(sources) | parents
        self._roots = frozenset(name.partition(".")[0] for name in sources)
        self._builtins: dict[str, Any] = {**vars(builtins), "__import__": self.import_statement}
        self._importlib = _Importlib(self)

    def owns(self, name: str) -> bool:
        """Whether the module's top-level package is one of this set."""
        return name.partition(".")[0] in self._roots

    def load(self, name: str) -> ModuleType:
        """Return the module of that name, run now if it was not yet.

        Raises:
            NotLoaded: where it failed before.
            BaseException: whatever its code raises, for the first one who asks.
        """
        module = self.table.get(name)
        if module is not None:
            return module
        if self.abandoned:
            raise Abandoned
        if name in self.failures:
            raise NotLoaded(f"{name} did not load", name=name)
        parent = self.load(name.rpartition(".")[0]) if "." in name else None
        module = self.table.get(name)
        if module is not None:  # loaded by its parent's code
            return module
        module = self._new(name)
        # Entered and bound before it runs, so that modules which import each other find one another.
        self.table[name] = module
        if parent is not None:
            setattr(parent, name.rpartition(".")[2], module)
        source = self.sources.get(name)
        if source is not None:
            self.running.append(name)
            try:
                exec(source.code, vars(module))  # noqa: S102  running released code is what this library is for
            except BaseException as error:
                del self.table[name]
                if parent is not None:
                    vars(parent).pop(name.rpartition(".")[2], None)
                origin = next((inner for inner, failure in self.failures.items() if failure is error), None)
                self.failures[name] = error if origin is None else _followed(error, origin)
                if _missing_from(error) in self.running[:-1]:
                    self.cut_short.append(name)
                raise
            finally:
                self.running.pop()
        return module

    def import_module(self, name: str, package: str | None = None) -> ModuleType:
        """`importlib.import_module` as seen from inside the generation."""
        absolute = importlib.util.resolve_name(name, package)
        return self._find(absolute)

    def import_statement(
        self,
        name: str,
        globals: Mapping[str, Any] | None = None,
        locals: Mapping[str, Any] | None = None,
        fromlist: Sequence[str] | None = (),
        level: int = 0,
    ) -> ModuleType:
        """``__import__`` of the generation's modules."""
        absolute = importlib.util.resolve_name("." * level + name, _package_of(globals or {})) if level else name
        if not self.owns(absolute):
            module = builtins.__import__(absolute, globals, locals, fromlist or (), 0)
            return self._importlib if module is importlib else module
        module = self._find(absolute)
        if fromlist:
            self._find_members(module, fromlist)
            return module
        if level == 0:
            return self._find(absolute.partition(".")[0])
        return module

    def _find(self, absolute: str) -> ModuleType:
        if absolute in self.names:
            return self.load(absolute)
        if absolute == "importlib":
            return self._importlib
        if not self.owns(absolute):
            return importlib.import_module(absolute)
        # In a package of the release, but not released: an ordinary module may stand beside the released ones.
        module = fronts.ordinary(absolute)
        if module is None:
            module = importlib.import_module(absolute)
        if isinstance(module, fronts.ModuleFront):
            # It belongs to another generation only. What this release lacks it must not find there.
            raise ModuleNotFoundError(f"No module named {absolute!r}", name=absolute)
        return module

    def _find_members(self, package: ModuleType, fromlist: Sequence[str]) -> None:
        """Load the submodules that a ``from package import …`` names."""
        if not hasattr(package, "__path__"):
            return
        for member in fromlist:
            if member == "*":
                self._find_members(package, [name for name in getattr(package, "__all__", ()) if name != "*"])
                continue
            name = f"{package.__name__}.{member}"
            if hasattr(package, member):
                continue
            try:
                self._find(name)
            except ModuleNotFoundError as error:
                if error.name != name:
                    raise
            # Said here, since the interpreter would look into `sys.modules` next, where another generation's may stand.
            if not hasattr(package, member):
                raise ImportError(f"cannot import name {member!r} from {package.__name__!r}", name=package.__name__)

    def _new(self, name: str) -> ModuleType:
        is_package, source = name in self._packages, self.sources.get(name)
        module = ModuleType(name) if source is not None else _Package(name, self)
        loader = None if source is None else SourceLoader(source, is_package)
        spec = ModuleSpec(name, loader, origin=source.file_name if source else "taskroll", is_package=is_package)
        if is_package:
            search: list[str] = list(getattr(fronts.ordinary(name), "__path__", ())) if source is None else []
            spec.submodule_search_locations = search
            vars(module)["__path__"] = search
        vars(module).update(
            __spec__=spec,
            __loader__=loader,
            __package__=name if is_package else name.rpartition(".")[0],
            __builtins__=self._builtins,
        )
        if source is not None:
            vars(module)["__file__"] = source.file_name
        return module


def _followed(error: BaseException, origin: str) -> NotLoaded:
    """What a module failed with that only imports the one where the error arose; it shows the line of the import."""
    return NotLoaded(f"{origin} did not load", name=origin).with_traceback(error.__traceback__)


class _Package(ModuleType):
    """A package that no definition provides. What it lacks it takes from the process's ordinary package, if any."""

    def __init__(self, name: str, modules: ModuleSet) -> None:
        super().__init__(name, "Made by taskroll to hold released modules.")
        vars(self).update(__taskroll_modules__=modules, __taskroll_ordinary__=fronts.ordinary(name))

    def __getattr__(self, attribute: str) -> Any:
        name = f"{self.__name__}.{attribute}"
        own = vars(self)
        # A released module that was not loaded yet must not be found as the ordinary one of its name.
        if not attribute.startswith("__") and name not in own["__taskroll_modules__"].names:
            module = fronts.ordinary(name)
            if module is not None:
                return module
            if own["__taskroll_ordinary__"] is not None:
                return getattr(own["__taskroll_ordinary__"], attribute)
        raise AttributeError(f"module {self.__name__!r} has no attribute {attribute!r}", name=attribute, obj=self)


class _Importlib(ModuleType):
    """What ``import importlib`` gives inside a generation: the ordinary one, whose imports ask the generation first."""

    def __init__(self, modules: ModuleSet) -> None:
        super().__init__("importlib", importlib.__doc__)
        self.import_module = modules.import_module
        self.__import__ = modules.import_statement

    def __getattr__(self, attribute: str) -> Any:
        return getattr(importlib, attribute)


def _missing_from(error: BaseException) -> str | None:
    """The module that lacked what an import or an attribute access asked of it."""
    if isinstance(error, ImportError):
        return error.name
    if isinstance(error, AttributeError) and isinstance(error.obj, ModuleType):
        return error.obj.__name__
    return None


def _package_of(globals: Mapping[str, Any]) -> str:
    package = globals.get("__package__")
    if package is None:
        spec = globals.get("__spec__")
        package = spec.parent if spec is not None else None
    if package is None:
        name = str(globals.get("__name__", ""))
        package = name if "__path__" in globals else name.rpartition(".")[0]
    if not package:
        raise ImportError("attempted relative import with no known parent package")
    return str(package)


def ordinary_parents(names: frozenset[str], released: Mapping[str, ModuleSource]) -> None:
    """Import the process's ordinary packages that stand under the parents of released modules, where there are any.

    Done before the fronts go up, outermost first, so that the ordinary import system finds them by itself.
    """
    absent: set[str] = set()
    for name in sorted(names - released.keys()):
        if name.rpartition(".")[0] in absent or name.rpartition(".")[0] in released:
            absent.add(name)
        elif fronts.ordinary(name) is None:
            try:
                importlib.import_module(name)
            except ModuleNotFoundError as error:
                if error.name is None or not (name == error.name or name.startswith(error.name + ".")):
                    raise
                absent.add(name)
