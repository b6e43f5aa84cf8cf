"""A dry run on stdout: what would change, with diffs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from starter.cli.output import Output, emit, emit_document, emit_table, progress

if TYPE_CHECKING:
    from rich.text import Text

    from starter.offline_plan import OfflinePlan

_SIGNS = {"create": "+", "change": "~", "delete": "-", "adopt": "="}
_STYLES = {"create": "green", "change": "yellow", "delete": "red", "adopt": "green"}


def show_plan(plan: OfflinePlan, output: Output) -> None:
    """Write it; warnings go to stderr."""
    if output is not Output.TABLE:
        emit_document(plan, output)
        return
    from rich.text import Text

    for warning in plan.warnings:
        progress().print(warning, style="yellow", markup=False, soft_wrap=True)
    if plan.leaves_out:
        emit(f"gone already, and then gone from the release: {', '.join(plan.leaves_out)}")
    if not plan.changes:
        if plan.leaves_out:
            return
        emit(f"nothing to change: all {plan.unchanged} definitions are live as they are")
        return
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
            for change in plan.changes
        ],
    )
    counts = {action: sum(change.action == action for change in plan.changes) for action in _SIGNS}
    emit(
        f"\n{counts['create']} to create, {counts['change']} to change, {counts['delete']} to delete, "
        + (f"{counts['adopt']} to adopt, " if counts["adopt"] else "")
        + f"{plan.unchanged} unchanged",
        f"closure, fenced meanwhile: {', '.join(plan.closure)}",
    )
    if plan.task_classes:
        emit(f"no live instance of: {', '.join(plan.task_classes)}")
    for change in plan.changes:
        if change.diff:
            emit("", _coloured(change.diff))


def short_digest(digest: str | None) -> str:
    """The first eight hex digits."""
    return digest.removeprefix("sha256:")[:8] if digest else "-"


def _coloured(diff: str) -> Text:
    from rich.text import Text

    text = Text()
    for line in diff.splitlines(keepends=True):
        style = "bold" if line.startswith(("+++", "---")) else {"+": "green", "-": "red", "@": "cyan"}.get(line[:1], "")
        text.append(line, style=style)
    text.rstrip()
    return text
