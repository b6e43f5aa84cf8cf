"""From the contents of a release to a generation: checked, compiled, run. Blocking: called in a thread of its own."""

import keyword
import logging
import sys
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, cast

from pydantic import BaseModel
from pydantic.dataclasses import is_pydantic_dataclass, rebuild_dataclass

from . import fronts, type_caches
from .contracts import DefinitionContent, ImportProblem
from .errors import LoadFailed
from .generation import Generation, LoadedDefinition
from .module_set import Abandoned, ModuleSet, NotLoaded, ordinary_parents
from .module_source import ModuleSource, compiled
from .problems import described, import_problem, rule_problem

_log = logging.getLogger(__name__)

RESERVED: Final = sys.stdlib_module_names | {
    "__main__", "taskroll_agent", "httpx", "httpcore", "pydantic", "pydantic_core", "rfc8785", "starlette", "anyio",
    "typing_extensions", "typing_inspection", "annotated_types", "certifi", "h11", "idna",
}  # fmt: skip
"""Top-level names that no release may put modules under: a task named like the standard library's `json` would break
the process that it is loaded into."""


@dataclass(frozen=True)
class Revision:
    """A definition's content under the digest that was checked when it was read."""

    digest: str
    content: DefinitionContent


class Loading:
    """One load. `run` does it; another thread may `abandon` it, and it ends at the next import of a released module."""

    def __init__(self, revisions: Mapping[str, Revision], prefixes: Sequence[str] = ()) -> None:
        self._revisions = revisions
        self._prefixes = prefixes
        self._modules: ModuleSet | None = None
        self._abandoned = False

    def abandon(self) -> None:
        self._abandoned = True
        if self._modules is not None:
            self._modules.abandoned = True

    def unfinished(self, seconds: float) -> list[ImportProblem]:
        """Say which definitions' module was running when the patience of `seconds` ran out."""
        module = self._modules.running[-1] if self._modules is not None and self._modules.running else None
        message = f"{module or 'a module'} was still running after {seconds:g} s"
        return [
            rule_problem(key, revision.content.module, "LoadTimeout", message)
            for key, revision in self._revisions.items()
            if module in (None, revision.content.module)
        ]

    def run(self) -> Generation:
        """Load all or nothing.

        Raises:
            LoadFailed: with a problem for each definition that cannot be loaded.
        """
        sources, problems = _sources(self._revisions, self._prefixes)
        if problems:
            raise LoadFailed(problems)
        first: list[str] = []
        while True:
            self._modules = modules = ModuleSet(sources)
            modules.abandoned = self._abandoned
            definitions, problems = self._run_modules(modules, [*first, *sorted(sources.keys() - set(first))])
            modules.failures.clear()
            if not problems:
                return Generation(modules, definitions)
            type_caches.forget(modules)
            # Some import cycles work from one end only, and the sources do not show which. Where a module came too late
            # in its cycle, the set is loaded once more with that one before all others.
            late = [name for name in modules.cut_short if name not in first]
            if not late:
                raise LoadFailed(problems)
            first = late + first

    def _run_modules(
        self, modules: ModuleSet, order: Sequence[str]
    ) -> tuple[list[LoadedDefinition], list[ImportProblem]]:
        try:
            ordinary_parents(modules.names, modules.sources)
        except BaseException as error:  # noqa: BLE001  whatever an ordinary package raises, this process goes on
            return [], [import_problem(k, r.content.module, "", error) for k, r in self._revisions.items()]
        for name in modules.sources:
            if fronts.ordinary(name) is not None:
                _log.info("released module %s takes the place of an ordinary one", name)
        with fronts.loading(modules):
            for name in order:
                try:
                    modules.load(name)
                except BaseException as error:  # noqa: BLE001  SystemExit and the like must not end this process
                    _log.debug("module %s did not load", name, exc_info=True)
                    modules.failures.setdefault(name, error)
            if not modules.failures:
                _complete_models(modules)
            replaced = fronts.put_back(modules.names)
        return self._classes(modules, replaced)

    def _classes(
        self, modules: ModuleSet, replaced: Collection[str]
    ) -> tuple[list[LoadedDefinition], list[ImportProblem]]:
        definitions: list[LoadedDefinition] = []
        causes: list[ImportProblem] = []
        followers: list[ImportProblem] = []
        for key, revision in self._revisions.items():
            content = revision.content
            module, class_name = content.module, content.class_name
            error = modules.failures.get(module)
            if error is not None:
                problem = import_problem(key, module, modules.sources[module].file_name, error)
                (followers if isinstance(error, NotLoaded | Abandoned) else causes).append(problem)
                _log.warning("definition cannot be loaded: %s", described(error), extra={"definition": key})
                continue
            if module in replaced:
                message = (
                    f"{module} puts something else under its own name in sys.modules, which no released module can"
                )
                causes.append(rule_problem(key, module, "ReplacesModule", message))
                continue
            cls = vars(modules.table[module]).get(class_name)
            if not issubclass(type(cls), type):
                kind, what = ("ClassMissing", "has no") if cls is None else ("NotAClass", "has something else named")
                causes.append(rule_problem(key, module, kind, f"{module} {what} class {class_name}"))
                continue
            definitions.append(
                LoadedDefinition(
                    key=content.key,
                    digest=revision.digest,
                    module=module,
                    source_digest=modules.sources[module].digest,
                    class_name=class_name,
                    cls=cast("type[Any]", cls),
                    task_class_name=content.task_class_name,
                    spec={name: value for name, value in content.spec.items() if name != "sourceCode"},
                )
            )
        return definitions, causes + followers


def _sources(
    revisions: Mapping[str, Revision], prefixes: Sequence[str]
) -> tuple[dict[str, ModuleSource], list[ImportProblem]]:
    """Compile each module once; all definitions of a module must carry the same source."""
    sources: dict[str, ModuleSource] = {}
    texts: dict[str, tuple[str, bytes]] = {}
    problems: list[ImportProblem] = []
    for key, revision in sorted(revisions.items()):
        content, module = revision.content, revision.content.module
        wrong = _wrong_name(content, prefixes)
        if wrong:
            problems.append(rule_problem(key, module, "InvalidName", wrong))
            continue
        try:
            source = content.source()
        except ValueError:
            problems.append(rule_problem(key, module, "InvalidSource", "spec.sourceCode is missing or not base64"))
            continue
        first = texts.setdefault(module, (key, source))
        if first[1] != source:
            message = f"{first[0]} and {key} carry different sources for module {module}"
            problems.append(rule_problem(key, module, "SourcesDisagree", message))
        elif module not in sources and first[0] == key:
            try:
                sources[module] = compiled(module, source)
            except Exception as error:  # noqa: BLE001  the parser raises more than SyntaxError: ValueError, RecursionError …
                problems.append(import_problem(key, module, "", error))
    return sources, problems


def _wrong_name(content: DefinitionContent, prefixes: Sequence[str]) -> str | None:
    module, class_name = content.module, content.class_name
    for part in [*module.split("."), class_name]:
        if not part.isidentifier() or keyword.iskeyword(part):
            return f"module {module!r} or class {class_name!r} is no Python name"
    if module.partition(".")[0] in RESERVED:
        return f"module {module} would replace one that this process needs"
    if prefixes and not any(module == prefix or module.startswith(prefix + ".") for prefix in prefixes):
        return f"module {module} is under none of the allowed prefixes {', '.join(prefixes)}"
    return None


def _complete_models(modules: ModuleSet) -> None:
    """Let pydantic resolve now what names a class that was defined later, while the names mean this generation.

    Left alone, pydantic does it at a model's first use, which may be after the next flip and outside of any lease.
    """
    for name in modules.sources:
        for cls in _own_classes(name, vars(modules.table[name])):
            try:
                if issubclass(cls, BaseModel) and not cls.__pydantic_complete__:
                    cls.model_rebuild(raise_errors=False)
                elif is_pydantic_dataclass(cls) and not cls.__pydantic_complete__:
                    rebuild_dataclass(cls, raise_errors=False)
            except BaseException:  # noqa: BLE001  such a model fails at its first use, as it does in any module
                _log.debug("a model of %s is incomplete", name, exc_info=True)


def _own_classes(module: str, namespace: Mapping[str, Any]) -> Iterator[type[Any]]:
    """The classes that a module defines, those within classes too.

    Nothing is asked of the values themselves: a lazy proxy would be evaluated by ``isinstance`` or by an attribute, and
    a metaclass may raise.
    """
    seen: set[int] = set()
    left = list(namespace.values())
    while left:
        value = left.pop()
        if not issubclass(type(value), type) or id(value) in seen:
            continue
        seen.add(id(value))
        inside: Mapping[str, Any] = _CLASS_NAMESPACE(value)
        if inside.get("__module__") == module:
            yield value
            left += inside.values()


_CLASS_NAMESPACE: Final = type.__dict__["__dict__"].__get__
"""The namespace of a class, whatever its metaclass says about ``__dict__``."""
