"""Checks of each definition by itself, and of several against each other: names, classes, clashes, descriptors."""

from collections import defaultdict
from collections.abc import Sequence

from taskroll_agent.contracts import DefinitionContent, DefinitionKey

from .names import identifier_fault, listed, module_name_fault, resource_name_fault, shown
from .problems import SourceProblem, error, warning
from .source_facts import Fault, SourceFacts

_WAY_OUT = {
    "syntax": "Correct it; python -m py_compile FILE shows the place.",
    "nul-byte": "Remove the byte; the file is probably no Python source.",
    "too-deep": "Split the expression or the chain of branches into smaller ones.",
    "unreadable": "Look for one enormous expression and split it; such a source could end a service as well.",
}


def name_problems(definition: DefinitionContent) -> list[SourceProblem]:
    """Module, class and resource names: what services make of them are file paths and attributes."""
    key = definition.key
    problems: list[SourceProblem] = []
    if fault := module_name_fault(definition.module):
        message = f"the module name {shown(definition.module)} {fault}"
        hint = "Services make a file path of it: use dotted identifiers, package.module."
        problems.append(error("bad-module-name", message, hint, definition=key))
    if fault := resource_name_fault(key):
        message = f"the resource name {shown(definition.name)} {fault}"
        hint = "Use the class name in kebab case, and a shorter class name where that is too long."
        problems.append(error("bad-resource-name", message, hint, definition=key))
    for name in dict.fromkeys((definition.class_name, definition.task_class_name)):
        if fault := identifier_fault(name):
            message = f"the class name {shown(name)} {fault}"
            hint = (
                "Name a class that stands at the top level of the module."
                if name.isascii()
                else "Rename the class: letters that look alike would name two classes."
            )
            problems.append(error("bad-class-name", message, hint, definition=key))
    return problems


def fault_problem(module: str, fault: Fault) -> SourceProblem:
    """The finding for a source that Python's parser does not take."""
    return error(
        fault.code,
        f"the source is not valid Python: {fault.message}",
        _WAY_OUT[fault.code],
        module=module,
        line=fault.line,
        column=fault.column,
    )


def class_problems(definition: DefinitionContent, facts: SourceFacts) -> list[SourceProblem]:
    """Whether the definition's class stands at the top level of its module."""
    name, key, module = definition.class_name, definition.key, definition.module
    if name in (facts.classes or {}) or identifier_fault(name):
        return []
    if name in facts.bound:
        message = f"{name} is bound in the module, but by no class statement: what it is shows only when it runs"
        hint = "Write it as a class statement at the top level of the module."
        return [warning("class-not-a-statement", message, hint, definition=key, module=module)]
    message = f"the module has no class {name} at its top level"
    hint = "Correct the class name, or move the class to the top level of the module."
    return [error("class-missing", message, hint, definition=key, module=module)]


def clash_problems(definitions: Sequence[DefinitionContent]) -> list[SourceProblem]:
    """Definitions that cannot stand together in one service."""
    by_module: defaultdict[str, list[DefinitionContent]] = defaultdict(list)
    by_key: defaultdict[DefinitionKey, list[DefinitionContent]] = defaultdict(list)
    by_class: defaultdict[tuple[str, str], list[DefinitionContent]] = defaultdict(list)
    for definition in definitions:
        by_module[definition.module].append(definition)
        by_key[definition.key].append(definition)
        by_class[definition.kind, definition.class_name].append(definition)
    return [*_module_clashes(by_module), *_resource_clashes(by_key), *_class_clashes(by_class)]


def _module_clashes(by_module: dict[str, list[DefinitionContent]]) -> list[SourceProblem]:
    problems: list[SourceProblem] = []
    packages: defaultdict[str, list[str]] = defaultdict(list)
    for module in by_module:
        parts = module.split(".")
        for length in range(1, len(parts)):
            packages[".".join(parts[:length])].append(module)
    for module, members in sorted(by_module.items()):
        if len({str(member.spec.get("sourceCode")) for member in members}) > 1:
            names = listed(sorted(str(member.key) for member in members))
            message = f"{names} carry different sources of one module; services would load only one of them"
            hint = "Deploy all definitions of the module together, from the same file."
            problems.append(error("module-sources-differ", message, hint, module=module))
        if module in packages:
            message = (
                f"it has a source and is also the package of {min(packages[module])}; services can have one of both"
            )
            hint = "Move its classes into a module of their own."
            problems.append(error("module-is-package", message, hint, module=module))
    return problems


def _resource_clashes(by_key: dict[DefinitionKey, list[DefinitionContent]]) -> list[SourceProblem]:
    problems: list[SourceProblem] = []
    for key, members in sorted(by_key.items()):
        if len(members) > 1:
            places = listed(sorted(f"{member.module}.{member.class_name}" for member in members))
            message = f"{places} would be one custom resource"
            hint = "Rename all but one: resources are named by the class name in kebab case."
            problems.append(error("resource-name-clash", message, hint, definition=key))
    return problems


def _class_clashes(by_class: dict[tuple[str, str], list[DefinitionContent]]) -> list[SourceProblem]:
    problems: list[SourceProblem] = []
    for (_, name), members in sorted(by_class.items()):
        if len({(member.key, member.module) for member in members}) < 2:
            continue
        for member in members:
            others = listed(sorted(f"{o.key} in {shown(o.module)}" for o in members if o is not member))
            message = f"the class {shown(name)} is also defined by {others}; instances name the class alone"
            hint = "Rename one of the classes, or delete the definition that is no longer meant."
            problems.append(error("class-name-clash", message, hint, definition=member.key, module=member.module))
    return problems


def descriptor_problems(definitions: Sequence[DefinitionContent]) -> list[SourceProblem]:
    """Descriptors of tasks that nobody defines, and several default ones of one task."""
    problems: list[SourceProblem] = []
    unit_tasks = {d.class_name for d in definitions if d.kind == "TaskDefinition" and d.spec.get("isUnitTask") is True}
    defaults: defaultdict[str, list[DefinitionContent]] = defaultdict(list)
    for definition in definitions:
        if definition.kind != "ExecutionDescriptor":
            continue
        task = definition.task_class_name
        if definition.spec.get("isDefault", True):
            defaults[task].append(definition)
        if task not in unit_tasks:
            message = f"it describes {shown(task)}, which no definition of a unit task provides"
            hint = "Deploy the task as well; services keep the descriptor waiting until then."
            problems.append(
                warning("task-not-defined", message, hint, definition=definition.key, module=definition.module)
            )
    for task, members in sorted(defaults.items()):
        if len(members) > 1:
            names = listed(sorted(str(member.key) for member in members))
            message = f"{names} all are the default descriptor of {shown(task)}; the one loaded first wins"
            hint = "Keep one descriptor for each task, or choose one by its name where tasks are used."
            problems += [
                warning("two-default-descriptors", message, hint, definition=member.key, module=member.module)
                for member in members
            ]
    return problems
