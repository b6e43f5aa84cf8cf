"""What would change, on stdout: a dry run, or the plan of an update, with diffs."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from typing import TYPE_CHECKING

from starter.cli.output import Output, emit, emit_document, emit_table, progress

if TYPE_CHECKING:
    from rich.text import Text

    from starter.offline_plan import OfflinePlan
    from starter.planned_change import PlannedChange
    from starter.update_diff import UpdateDiff

_SIGNS = {"create": "+", "change": "~", "delete": "-", "adopt": "="}
_STYLES = {"create": "green", "change": "yellow", "delete": "red", "adopt": "green"}


def show_plan(plan: OfflinePlan, output: Output) -> None:
    """Write what a request would do; warnings go to stderr."""
    if output is not Output.TABLE:
        emit_document(plan, output)
        return
    _warn(plan.warnings)
    if plan.leaves_out:
        emit(f"gone already, and then gone from the release: {', '.join(plan.leaves_out)}")
    if not plan.changes:
        if plan.leaves_out:
            return
        emit(f"nothing to change: all {plan.unchanged} definitions are live as they are")
        return
    _emit_changes(plan.changes)
    emit("", f"{_counts(plan.changes)}, {plan.unchanged} unchanged")
    _emit_extent(plan.closure, plan.task_classes)
    _emit_diffs(plan.changes)


def show_diff(diff: UpdateDiff, output: Output) -> None:
    """Write what an update changes; warnings go to stderr."""
    if output is not Output.TABLE:
        emit_document(diff, output)
        return
    _warn(diff.warnings)
    base = f"release {diff.base_epoch}" if diff.base_epoch else "no release"
    emit(f"update {diff.request_id}, plan {diff.plan} {diff.plan_digest}, from {base}", "")
    if diff.leaves_out:
        emit(f"gone already, and then gone from the release: {', '.join(diff.leaves_out)}")
    if not diff.changes:
        emit("no custom resource differs")
        return
    _emit_changes(diff.changes)
    emit("", _counts(diff.changes))
    _emit_extent(diff.closure, diff.task_classes)
    if users := [f"instance {each}" for each in diff.instances] + [f"app {each}" for each in diff.apps]:
        emit(f"in use, when the plan was made, by: {', '.join(users)}")
    _emit_diffs(diff.changes)


def short_digest(digest: str | None) -> str:
    """The first eight hex digits."""
    return digest.removeprefix("sha256:")[:8] if digest else "-"


def visible(line: str) -> str:
    """The line with what a terminal would obey, or not show, spelled out: a source may be made to hide from readers."""
    return "".join(
        char
        if char in "\t\n" or unicodedata.category(char) not in ("Cc", "Cf")
        else char.encode("unicode_escape").decode()
        for char in line
    )


def _warn(warnings: Sequence[str]) -> None:
    for warning in warnings:
        progress().print(warning, style="yellow", markup=False, soft_wrap=True)


def _emit_changes(changes: Sequence[PlannedChange]) -> None:
    from rich.text import Text

    emit_table(
        ("", "DEFINITION", "MODULE", "BEFORE", "AFTER", "SOURCE"),
        [
            (
                Text(_SIGNS[change.action], style=_STYLES[change.action]),
                change.definition,
                change.module,
                short_digest(change.before),
                short_digest(change.after),
                f"+{change.what.lines_added} -{change.what.lines_removed} lines",
            )
            for change in changes
        ],
    )


def _counts(changes: Sequence[PlannedChange]) -> str:
    counts = {action: sum(change.action == action for change in changes) for action in _SIGNS}
    said = f"{counts['create']} to create, {counts['change']} to change, {counts['delete']} to delete"
    return said + (f", {counts['adopt']} to adopt" if counts["adopt"] else "")


def _emit_extent(closure: Sequence[str], task_classes: Sequence[str]) -> None:
    emit(f"closure, fenced meanwhile: {', '.join(closure)}")
    if task_classes:
        emit(f"no new instance meanwhile of: {', '.join(task_classes)}")


def _emit_diffs(changes: Sequence[PlannedChange]) -> None:
    """Of the sources, and before them what else of the custom resources differs."""
    values = [
        visible(f"{change.definition}: {value.name}: {_said(value.before)} → {_said(value.after)}")
        for change in changes
        for value in change.what.values
    ]
    if values:
        emit("", *values)
    for change in changes:
        if change.diff:
            emit("", _coloured(change.diff))
        if change.lines_left_out:
            emit(f"… and {change.lines_left_out} more lines of {change.module}: --full shows them")


def _said(value: str | None) -> str:
    return "(none)" if value is None else value


def _coloured(diff: str) -> Text:
    from rich.text import Text

    text = Text()
    for line in diff.splitlines(keepends=True):
        style = "bold" if line.startswith(("+++", "---")) else {"+": "green", "-": "red", "@": "cyan"}.get(line[:1], "")
        text.append(visible(line), style=style)
    text.rstrip()
    return text
