"""Why definitions cannot be loaded, as several replicas say it: each finding once, causes first."""

from collections.abc import Iterable
from dataclasses import dataclass, field

from pydantic import BaseModel, ConfigDict

from taskroll_agent.contracts import ImportProblem

from .answers import shorten
from .replica import Replica

FIRST_NAMED = 5
FOLLOWING = ("NotLoaded", "Abandoned")
"""Errors that an agent reports of a module which only imports the one that is wrong."""


class LoadProblem(BaseModel):
    """One finding about a module."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    definitions: list[str]
    """The first five of the module's definitions that cannot be loaded by it."""
    definition_count: int
    module: str
    error: str
    message: str
    replicas: list[str]
    """The first five that report it, as ``service/pod``."""
    replica_count: int

    def __str__(self) -> str:
        what = _first(self.definitions, self.definition_count)
        return f"{what}: {self.error}: {self.message} (on {_first(self.replicas, self.replica_count)})"


@dataclass
class LoadProblems:
    """Collects what replicas answer."""

    _found: dict[tuple[str, str, str], tuple[dict[str, None], dict[str, None]]] = field(
        default_factory=dict[tuple[str, str, str], tuple[dict[str, None], dict[str, None]]]
    )
    """Module, error and message → definitions and replicas, in the order in which they were first seen."""
    _definitions: set[str] = field(default_factory=set[str])

    def __bool__(self) -> bool:
        return bool(self._found)

    @property
    def definition_count(self) -> int:
        """Definitions that cannot be loaded somewhere."""
        return len(self._definitions)

    def add(self, problems: Iterable[ImportProblem], replica: Replica) -> None:
        """Take in the answer of one replica."""
        for problem in problems:
            self._definitions.add(problem.definition)
            definitions, replicas = self._found.setdefault((problem.module, problem.error, problem.message), ({}, {}))
            definitions[problem.definition] = None
            replicas[f"{replica.service}/{replica.pod}"] = None

    def findings(self, limit: int) -> list[LoadProblem]:
        """The first of them, causes before what follows from them."""
        in_order = sorted(self._found.items(), key=lambda item: item[0][1] in FOLLOWING)
        return [
            LoadProblem(
                definitions=[*definitions][:FIRST_NAMED],
                definition_count=len(definitions),
                module=module,
                error=shorten(error, 80),
                message=shorten(message),
                replicas=[*replicas][:FIRST_NAMED],
                replica_count=len(replicas),
            )
            for (module, error, message), (definitions, replicas) in in_order[:limit]
        ]


def _first(names: list[str], count: int) -> str:
    more = count - len(names)
    return ", ".join(names) + (f" and {more} more" if more > 0 else "")
