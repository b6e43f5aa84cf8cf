"""Checks of definitions without running them: in the deploy tool before anything is sent, in the worker as it plans."""

from collections.abc import Collection, Iterable, Sequence
from itertools import groupby

from taskroll_agent.contracts import DefinitionContent, DefinitionKey

from .definition_checks import clash_problems, class_problems, descriptor_problems, fault_problem, name_problems
from .import_checks import import_problems
from .import_graph import import_graph
from .problems import MAX_PLACE, SourceProblem
from .source_facts import THIS_PYTHON, Target, read_sources
from .source_text import text_of

MAX_OF_A_KIND = 20
"""Findings of one code in one module that are listed: a source can be written so that it has thousands."""


def check_sources(
    definitions: Iterable[DefinitionContent],
    *,
    scope: Collection[DefinitionKey] | None = None,
    provided: Collection[str] = (),
    target: Target = THIS_PYTHON,
) -> list[SourceProblem]:
    """Everything that is wrong with a set of definitions, errors first.

    Nothing is run, and no text is parsed in this process, so it may be called on text that anybody sent.

    Args:
        definitions: all that the services would have, not only the changed ones: imports and clashes are between them.
        scope: report only what concerns these; None for all. What is wrong elsewhere was so before this update.
        provided: modules, or packages with all that is in them, under the definitions' own packages that services
            have installed themselves.
        target: version of Python that the services run. Older ones than this process's are checked as far as its
            parser can (``ast.parse(feature_version=…)``), newer ones by its own grammar.

    Raises:
        OSError: where the child process that parses cannot be started.
    """
    every = sorted(definitions, key=lambda definition: definition.key)
    problems: list[SourceProblem] = []
    named: list[DefinitionContent] = []
    readable: list[tuple[DefinitionContent, str]] = []
    for definition in every:
        if faults := name_problems(definition):
            # What has no usable name has no place in a service: more findings about it would only hide this one.
            problems += faults
            continue
        named.append(definition)
        text, found = text_of(definition)
        problems += found
        if text is not None:
            readable.append((definition, text))
    facts = read_sources((text for _, text in readable), target=target)
    sources: dict[str, str] = {}
    for definition, text in readable:
        sources.setdefault(definition.module, text)
        if (fault := facts[text].fault) is not None:
            problems.append(fault_problem(definition.module, fault))
        else:
            problems += class_problems(definition, facts[text])
    problems += clash_problems(named)
    problems += descriptor_problems(named)
    # Modules whose text could not be had are there all the same: importing them is no second finding.
    textless = {definition.module for definition in every} - sources.keys()
    problems += import_problems(import_graph(sources, facts), {*provided, *textless})
    kept = [problem for problem in dict.fromkeys(problems) if _in_scope(problem, every, scope)]
    return _limited(sorted(kept, key=lambda p: (p.severity, p.module or "", p.code, p.line or 0, p.definition or "")))


def _in_scope(
    problem: SourceProblem, definitions: Sequence[DefinitionContent], scope: Collection[DefinitionKey] | None
) -> bool:
    if scope is None:
        return True
    return any(
        str(definition.key)[:MAX_PLACE] == problem.definition
        if problem.definition
        else definition.module[:MAX_PLACE] == problem.module
        for definition in definitions
        if definition.key in scope
    )


def _limited(problems: list[SourceProblem]) -> list[SourceProblem]:
    """The first findings of each code in each module; the last of them says how many more there are."""
    groups = groupby(problems, key=lambda problem: (problem.severity, problem.module, problem.code))
    kept: list[SourceProblem] = []
    for _, group in groups:
        members = list(group)
        kept += members[:MAX_OF_A_KIND]
        if (more := len(members) - MAX_OF_A_KIND) > 0:
            kept[-1] = kept[-1].model_copy(update={"message": f"{kept[-1].message} (and {more} more like this)"})
    return kept
