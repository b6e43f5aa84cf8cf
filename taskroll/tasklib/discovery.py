"""The definitions of a task package, found in its text. Nothing of the package is imported or run."""

import base64
import sys
from collections import Counter
from pathlib import Path

import griffe
from pydantic import BaseModel, ConfigDict, Field

from taskroll.models.wording import counted
from taskroll_agent.contracts import DefinitionContent, DefinitionKey, Kind, Metadata

from .checks import check_sources
from .class_lookup import BaseKind, ClassLookup
from .definition_checks import fault_problem
from .names import listed, resource_name
from .package_config import PackageConfig, load_package_config
from .package_files import ModuleFile, PackageFiles, read_package
from .problems import SourceProblem
from .source_facts import THIS_PYTHON, Fault, Target, read_sources

MAX_SUMMARY = 200


class DiscoveredDefinition(BaseModel):
    """One class of a package that becomes a custom resource."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Kind
    name: str
    """Of the custom resource."""
    class_name: str
    module: str
    source: str
    """The whole module's text, as it is sent."""
    is_unit_task: bool = False
    task_class_name: str
    """The class itself for a task; for a descriptor the task that it describes the execution of."""
    is_default: bool = True
    """Of a descriptor. Cornserve's gateway writes true for each one, and its services do not read the field."""
    summary: str = ""
    """First line of the class's docstring."""
    file: Path
    line: int
    metadata: Metadata = Field(default_factory=Metadata)

    @property
    def key(self) -> DefinitionKey:
        return DefinitionKey(self.kind, self.name)

    def content(self) -> DefinitionContent:
        """The definition as its custom resource has it."""
        encoded = base64.b64encode(self.source.encode("utf-8")).decode("ascii")
        spec: dict[str, object] = {
            "taskClassName": self.task_class_name,
            "moduleName": self.module,
            "sourceCode": encoded,
        }
        if self.kind == "TaskDefinition":
            spec["isUnitTask"] = self.is_unit_task
        else:
            spec |= {"descriptorClassName": self.class_name, "isDefault": self.is_default}
        return DefinitionContent(kind=self.kind, name=self.name, spec=spec, metadata=self.metadata)


class TaskPackage(BaseModel):
    """What was found under a path."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    """Dotted name of the folder."""
    root: Path
    """The folder that module names count from."""
    definitions: tuple[DiscoveredDefinition, ...]
    """Unit tasks, composite tasks, descriptors; each by module and place in it."""
    problems: tuple[SourceProblem, ...]
    """Of reading, discovery and `check_sources` over these definitions alone."""
    config: PackageConfig

    def contents(self) -> list[DefinitionContent]:
        return [definition.content() for definition in self.definitions]


def discover(path: Path, config: PackageConfig | None = None, *, target: Target = THIS_PYTHON) -> TaskPackage:
    """Find the unit tasks, composite tasks and execution descriptors in a package folder.

    As with Cornserve's tool, a class counts where a class statement at the top level of a module derives, directly or
    not, from one of the bases; abstract classes and those with a leading underscore count too, since others derive
    from them and services need their modules. Not found: classes that are made by a call (``create_model``,
    ``type(…)``). Found beyond Cornserve's tool: classes outside of the subpackages ``task`` and
    ``task_executors.descriptor``, and in folders without ``__init__.py``.

    Args:
        path: the package's folder.
        config: as `load_package_config` reads it, which is the default.
        target: version of Python that the services run.

    Raises:
        PackageConfigError, PackagePathError: where `path` or its configuration cannot be used.
        OSError: where a file cannot be read.
    """
    settings = config if config is not None else load_package_config(path)
    files = read_package(path, settings)
    facts = read_sources((file.text for file in files.modules if file.text is not None), target=target)
    # griffe works in this process: it gets only what Python's parser took well in its own.
    sound = [file for file in files.modules if file.text is not None and facts[file.text].fault is None]
    lookup = ClassLookup(sound, settings.bases, _search_paths(files, settings))
    definitions: list[DiscoveredDefinition] = []
    problems = [*files.problems]
    for file in files.modules:
        if not file.selected or file.text is None:
            continue
        if (fault := facts[file.text].fault) is not None:
            problems.append(fault_problem(file.name, fault))
        elif file.name in lookup.too_deep:
            problems.append(fault_problem(file.name, Fault("too-deep", "nested too deeply to look for its classes")))
        for cls in lookup.classes(file.name):
            kind = lookup.kind(cls)
            if kind is None:
                continue
            task = lookup.described_task(cls) if kind == "descriptor" else cls.name
            if task is None:
                problems.append(_without_task(cls, file.name, bool(lookup.type_parameters(cls))))
            else:
                definitions.append(_definition(cls, kind, task, file, settings))
    definitions.sort(key=lambda d: (d.kind != "TaskDefinition", not d.is_unit_task, d.module, d.line))
    contents = [definition.content() for definition in definitions]
    # What these would define is not known: that others import it, or that nothing is left, is no second finding.
    faulty = {problem.module for problem in problems if problem.severity == "error" and problem.module is not None}
    problems += check_sources(contents, provided={*settings.provided, *faulty}, target=target)
    if not definitions and not faulty:
        problems.append(_nothing_found(files, lookup, settings))
    return TaskPackage(
        name=files.package,
        root=files.root,
        definitions=tuple(definitions),
        problems=tuple(sorted(dict.fromkeys(problems), key=lambda p: (p.severity, p.module or "", p.line or 0))),
        config=settings,
    )


def _definition(
    cls: griffe.Class, kind: BaseKind, task: str, file: ModuleFile, config: PackageConfig
) -> DiscoveredDefinition:
    summary = cls.docstring.value.strip().partition("\n")[0].strip() if cls.docstring else ""
    return DiscoveredDefinition(
        kind="ExecutionDescriptor" if kind == "descriptor" else "TaskDefinition",
        name=resource_name(cls.name),
        class_name=cls.name,
        module=file.name,
        source=file.text or "",
        is_unit_task=kind == "unit",
        task_class_name=task,
        summary=summary if len(summary) <= MAX_SUMMARY else summary[: MAX_SUMMARY - 1] + "…",
        file=file.path,
        line=cls.lineno or 1,
        metadata=Metadata(labels=dict(config.labels), annotations=dict(config.annotations)),
    )


def _search_paths(files: PackageFiles, config: PackageConfig) -> list[Path]:
    configured = [config.path(folder) for folder in config.search_paths]
    return [files.root, *configured, *(Path(entry) for entry in sys.path if entry)]


def _without_task(cls: griffe.Class, module: str, is_generic: bool) -> SourceProblem:
    return SourceProblem(
        code="descriptor-without-task",
        severity="warning" if is_generic else "error",
        module=module,
        line=cls.lineno,
        message=f"the descriptor {cls.name} names no task class"
        + (": it is generic and was passed over" if is_generic else ""),
        hint="Name it as the base's first argument: class MyDescriptor(Descriptor[MyTask, …])."
        + (" Cornserve's own deploy tool refuses such a class." if is_generic else ""),
    )


def _nothing_found(files: PackageFiles, lookup: ClassLookup, config: PackageConfig) -> SourceProblem:
    selected = [file for file in files.modules if file.selected]
    classes = [cls for file in selected for cls in lookup.classes(file.name)]
    seen = Counter(base for cls in classes for base in lookup.base_names(cls)).most_common(5)
    frequent = ", ".join(f"{name} ({count})" for name, count in seen) or "none"
    many = "1 class" if len(classes) == 1 else f"{len(classes)} classes"
    passed_over = f"; passed over: {listed(map(str, files.passed_over))}" if files.passed_over else ""
    wanted = ", ".join(sorted(config.bases.all()))
    place = f"{config.file} [tool.taskroll.bases]" if config.file else "a [tool.taskroll.bases] in pyproject.toml"
    return SourceProblem(
        code="nothing-found",
        severity="error",
        message=f"{files.package} has no tasks: {counted(len(selected), 'module')}, {many}; "
        f"their most frequent bases: {frequent}{passed_over}",
        hint=f"Looked for classes derived from {wanted}; name other base classes in {place}.",
    )
