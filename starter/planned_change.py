"""One definition of a plan, with what differs in it: for a dry run, and for who approves."""

from collections.abc import Iterable, Mapping

from pydantic import BaseModel, ConfigDict

from taskroll.models.plan import Action, DefinitionChange
from taskroll.tasklib.changes import ChangeSummary, describe_change, unified_diff
from taskroll_agent.contracts import DefinitionContent

DIFF_LINES = 2_000
"""Lines of a module's diff that are shown where nobody asks for all of them."""


class PlannedChange(BaseModel):
    """One definition that would change."""

    model_config = ConfigDict(extra="forbid")

    definition: str
    action: Action
    class_name: str
    module: str
    before: str | None
    """Digest of what is live; None for a creation."""
    after: str | None
    """Digest of what would be; None for a deletion."""
    what: ChangeSummary
    """What differs, in lines, fields and methods."""
    diff: str
    """Unified diff of the module's source; empty where the source does not differ, or an earlier change shows it."""
    lines_left_out: int = 0
    """Lines of the diff that are not in it, since it is too long."""


def planned_changes(
    changes: Iterable[DefinitionChange],
    before: Mapping[str, DefinitionContent],
    after: Mapping[str, DefinitionContent],
    *,
    max_lines: int | None = None,
) -> list[PlannedChange]:
    """The changes that concern a custom resource, with diffs.

    Args:
        changes: Of a plan.
        before: By key: the contents that are live before it.
        after: By key: the contents after it.
        max_lines: Of one module's diff; None for no limit.
    """
    shown: set[str] = set()
    planned: list[PlannedChange] = []
    for change in changes:
        old, new = before.get(str(change.key)), after.get(str(change.key))
        if old is None and new is None:
            continue
        # Each definition of a module carries the whole module: one of them shows it.
        diff = unified_diff(old, new)
        lines = [] if diff in shown else diff.splitlines(keepends=True)
        shown.add(diff)
        planned.append(
            PlannedChange(
                definition=str(change.key),
                action=change.action,
                class_name=change.class_name,
                module=change.module,
                before=change.former.digest if change.former else None,
                after=change.after.digest if change.after else None,
                what=describe_change(old, new),
                diff="".join(lines[:max_lines]),
                lines_left_out=max(0, len(lines) - max_lines) if max_lines is not None else 0,
            )
        )
    return planned
