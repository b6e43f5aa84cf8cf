"""What is wrong with a source, said so that its author can act on it."""

from collections.abc import Iterable
from typing import Literal

from pydantic import BaseModel, ConfigDict

MAX_PLACE = 600
"""Characters of a definition key or module name: names that are too long are findings themselves."""

Severity = Literal["error", "warning"]
Code = Literal[
    # The definition itself:
    "bad-module-name",
    "bad-class-name",
    "bad-resource-name",
    "source-missing",
    # Its text:
    "not-utf8",
    "nul-byte",
    "too-large",
    "syntax",
    "too-deep",
    "unreadable",
    # Its class:
    "class-missing",
    "class-not-a-statement",
    "descriptor-without-task",
    "task-not-defined",
    "two-default-descriptors",
    # Several definitions together:
    "module-sources-differ",
    "resource-name-clash",
    "class-name-clash",
    "module-is-package",
    # What it imports:
    "import-not-provided",
    "import-cycle",
    "import-not-readable",
    # Files of a package:
    "file-not-importable",
    "directory-not-importable",
    "directory-not-followed",
    "nothing-found",
]


class SourceProblem(BaseModel):
    """One finding. An ``error`` stops an update; a ``warning`` is shown and does not.

    `message` and `hint` name identifiers and places; they never quote a line of source, because problems travel
    through workflow histories.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    code: Code
    severity: Severity
    message: str
    hint: str
    """The way out, as one sentence."""
    definition: str | None = None
    """Definition key ``Kind/name``; None where the finding is about a module or a file."""
    module: str | None = None
    """Dotted name; None where the finding is about no module."""
    line: int | None = None
    """Counted from 1."""
    column: int | None = None
    """Counted from 1, in characters."""

    def __str__(self) -> str:
        place = self.module or self.definition or ""
        if place and self.line is not None:
            place += f":{self.line}" + (f":{self.column}" if self.column is not None else "")
        return f"{self.severity}: {place + ': ' if place else ''}{self.message} [{self.code}]. {self.hint}"


def error(
    code: Code,
    message: str,
    hint: str,
    *,
    definition: object = None,
    module: str | None = None,
    line: int | None = None,
    column: int | None = None,
) -> SourceProblem:
    """A finding that stops an update. `definition` is a key, or its text."""
    return SourceProblem(
        code=code,
        severity="error",
        message=message,
        hint=hint,
        definition=None if definition is None else str(definition)[:MAX_PLACE],
        module=None if module is None else module[:MAX_PLACE],
        line=line,
        column=column,
    )


def warning(
    code: Code,
    message: str,
    hint: str,
    *,
    definition: object = None,
    module: str | None = None,
    line: int | None = None,
) -> SourceProblem:
    """A finding that is shown and stops nothing."""
    found = error(code, message, hint, definition=definition, module=module, line=line)
    return found.model_copy(update={"severity": "warning"})


def errors(problems: Iterable[SourceProblem]) -> list[SourceProblem]:
    """Those problems that stop an update."""
    return [problem for problem in problems if problem.severity == "error"]
