"""An update in words: for a table on stdout, for a live view, and for a log line per change."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.text import Text

    from starter.update_list import UpdateLine
    from starter.update_view import ActivityProgress, Execution, UpdateView
    from taskroll.models.plan import PlanSummary
    from taskroll.models.status import Decision, Step, UpdateStatus

_COLOURS = {
    "completed": "green",
    "no_change": "green",
    "rolled_back": "yellow",
    "rejected": "yellow",
    "needs_operator": "bold red",
    "released": "bold red",
    "done": "green",
    "running": "cyan",
    "failed": "red",
    "cancelled": "yellow",
}
_MARKS = {"running": "▶", "done": "✓", "failed": "✗", "cancelled": "⊘"}
SHOWN = 20
"""How many of those that an update waits for are named."""
NAMED = 10
"""How many definitions of a kind of change are named."""


def names(known: Sequence[str]) -> str:
    """The first ten of them."""
    more = len(known) - NAMED
    return ", ".join(known[:NAMED]) + (f" and {more} more" if more > 0 else "")


def moment(when: datetime | None) -> str:
    """``2026-04-01 10:00:03Z``."""
    return when.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%SZ") if when else ""


def short_commit(commit: str | None, dirty: bool | None = False) -> str:
    """The first twelve digits, with a ``+`` where files differed from it; releases write that as ``-dirty``."""
    if not commit:
        return ""
    digits, _, mark = commit.partition("-")
    return digits[:12] + ("+" if dirty or mark else "")


def state(status: UpdateStatus) -> str:
    """``completed``, or the phase of an update that goes on."""
    return status.outcome or status.phase


def line_state(line: UpdateLine) -> str:
    """``completed``; ``applying (verify)``; or what became of the workflow of an update that has not ended."""
    if line.is_orphaned:
        return _fate(line.execution)
    if line.outcome:
        return line.outcome
    return f"{line.phase} ({line.step})" if line.step else line.phase


def way_out(execution: Execution | None, command: str) -> str:
    """What is said of an update that nothing drives."""
    return (
        f"its workflow is {_fate(execution)}, and the update has not ended: the reconciler of a running worker "
        f"finishes it within its interval, or now: {command}"
    )


def _fate(execution: Execution | None) -> str:
    return "gone" if execution in (None, "recorded") else execution


def colour(word: str) -> str:
    """The style for an outcome or a step's state; empty for other words."""
    return _COLOURS.get(word, "")


def describe(view: UpdateView) -> Iterator[RenderableType]:
    """The whole update: facts, whom it waits for, decisions, steps."""
    from rich.text import Text

    from starter.cli.output import columns

    status = view.status
    facts: list[tuple[str, RenderableType]] = [("state", Text(_headline(view), style=colour(state(status))))]
    if status.message and not view.is_orphaned:
        facts.append(("message", status.message))
    facts.append(("asked by", f"{status.requested_by}, {moment(status.started_at)}"))
    if status.reason:
        facts.append(("reason", status.reason))
    if status.git_commit:
        facts.append(("commit", status.git_commit + ("+" if view.git and view.git.dirty else "")))
    if view.git and view.git.dirty_files:
        facts.append(("differs", names(view.git.dirty_files)))
    if status.plan:
        facts.append(("plan", plan_line(status.plan)))
        facts += [(verb, names(keys)) for verb, keys in status.plan.by_verb().items()]
        facts += [("in use by", app) for app in status.plan.apps]
        facts += [
            (f"by {strategy}", f"{', '.join(some)}: {proof}")
            for (strategy, proof), some in _by_proof(status.plan).items()
        ]
        facts += [("warning", Text(warning, style="yellow")) for warning in status.plan.warnings]
    facts += [(each.decision, _decision(each, status)) for each in status.decisions]
    waiting_for = [] if view.is_orphaned else status.waiting_for
    facts += [("waits for", whom) for whom in waiting_for[:SHOWN]]
    if len(waiting_for) > SHOWN:
        facts.append(("", f"and {len(waiting_for) - SHOWN} more"))
    if status.replicas is not None:
        facts.append(("replicas", f"{status.replicas} attested{_window(status)}"))
    if status.restored_byte_for_byte is not None:
        facts.append(("restored", "byte for byte" if status.restored_byte_for_byte else "NOT byte for byte"))
    facts += [("app", str(app)) for app in status.apps]
    if view.notice:
        facts.append(("note", Text(view.notice, style="yellow")))
    yield Text(f"update {status.request_id} in namespace {status.namespace}", style="bold")
    yield columns((), facts, wrap=True)
    if status.steps:
        yield Text()
        yield steps_table(view)


def steps_table(view: UpdateView) -> RenderableType:
    """The steps with their times, and the counts of the one that runs."""
    from rich.text import Text

    from starter.cli.output import columns

    rows: list[tuple[RenderableType, ...]] = []
    for step in view.status.steps:
        detail = "as the message says" if _is_told_by(view.status.message, step) else step.detail
        if step.state == "running" and view.progress:
            detail = "; ".join(filter(None, [detail, *(counts(each) for each in view.progress)]))
        rows.append(
            (step.name, Text(f"{_MARKS[step.state]} {step.state}", style=colour(step.state)), _took(step), detail)
        )
    return columns(("STEP", "STATE", "SECONDS", "DETAIL"), rows, wrap=True)


def plan_line(plan: PlanSummary) -> str:
    """``1 created, 3 changed; closure of 6; gateway × 1``."""
    reach = ", ".join(f"{service.name} × {service.replicas}" for service in plan.services) or "no services"
    return f"{plan.in_words()}; closure of {plan.closure}; {reach}; {plan.digest[:19]}…"


def _by_proof(plan: PlanSummary) -> dict[tuple[str, str], list[str]]:
    """Strategy, and what it can show → the names of its services."""
    found: dict[tuple[str, str], list[str]] = {}
    for service in plan.services:
        if service.proof:
            found.setdefault((service.strategy, service.proof), []).append(service.name)
    return found


def counts(progress: ActivityProgress) -> str:
    """``7/11 gateway-0``, with the attempt where it is not the first."""
    parts: list[str] = []
    if progress.done or progress.total:
        parts.append(f"{progress.done}/{progress.total}" if progress.total else str(progress.done))
    if progress.note:
        parts.append(progress.note)
    if progress.attempt > 1:
        parts.append(f"(attempt {progress.attempt}" + (f": {progress.failure})" if progress.failure else ")"))
    return " ".join(parts)


def changes(before: UpdateView | None, now: UpdateView) -> Iterator[tuple[datetime | None, str, str]]:
    """What a log says of the way from one look to the next: when it was, the line, its style.

    Steps have times of their own; None stands for what was seen just now.
    """
    old = before.status if before else None
    known = {(step.name, step.started_at): step for step in old.steps} if old else {}
    for step in now.status.steps:
        was = known.get((step.name, step.started_at))
        if was == step:
            continue
        if was is None and step.state == "running":
            yield step.started_at, f"{step.name}: started", ""
        elif was is None or was.state != step.state:
            detail = f": {step.detail}" if step.detail else ""
            # A step that a recovery found cancelled has no end that anybody saw.
            after = f" after {_took(step)} s" if step.ended_at else ""
            yield step.ended_at, f"{step.name}: {step.state}{after}{detail}", colour(step.state)
        elif was.detail != step.detail:
            yield None, f"{step.name}: {step.detail}", ""
    seen = {_without_round(counts(each)) for each in before.progress} if before else set[str]()
    for each in now.progress:
        if (text := counts(each)) and _without_round(text) not in seen:
            yield None, f"{each.activity}: {text}", ""
    if now.status.waiting_for and (old is None or old.waiting_for != now.status.waiting_for):
        more = len(now.status.waiting_for) - SHOWN
        yield (
            None,
            "waits for " + ", ".join(now.status.waiting_for[:SHOWN]) + (f" and {more} more" if more > 0 else ""),
            "cyan",
        )
    if now.status.message and (old is None or old.message != now.status.message):
        is_told = any(_is_told_by(now.status.message, step) for step in now.status.steps)
        if is_told and now.status.phase == "rolling-back":
            yield None, "takes back what was done", ""
        else:
            yield now.status.ended_at, now.status.message, ""
    if now.notice and (before is None or before.notice != now.notice):
        yield None, f"note: {now.notice}", "yellow"


def headline(view: UpdateView) -> Text:
    """One line on how it stands, in the colour of its state."""
    from rich.text import Text

    return Text(f"update {view.status.request_id}: {_headline(view)}", style=colour(state(view.status)))


def _is_told_by(message: str, step: Step) -> bool:
    """Whether the message says why the step failed. Details are cut, messages are not."""
    return step.state == "failed" and bool(step.detail) and message.startswith(step.detail)


def _headline(view: UpdateView) -> str:
    status = view.status
    if view.is_orphaned:
        return f"{status.phase}, but its workflow is {_fate(view.execution)}: nothing drives it; its fence may be up"
    if status.outcome == "completed" and status.epoch is not None:
        return f"completed, release {status.epoch}"
    return state(status)


def _window(status: UpdateStatus) -> str:
    if status.longest_pause_ms is not None:
        return f", calls paused for {status.longest_pause_ms:.0f} ms at most"
    if status.mixed_version_window_ms is None:
        return ""
    return f", mixed versions for {status.mixed_version_window_ms:.0f} ms"


def _decision(decision: Decision, status: UpdateStatus) -> str:
    """Who decided and why; and on which plan, where it is not the one that stands now."""
    said = f"by {decision.by}: {decision.reason or '(no reason given)'}"
    if status.plan is None or decision.plan_digest == status.plan.digest:
        return said
    return f"{said}; for a former plan, {decision.plan_digest[:19]}…"


def _without_round(text: str) -> str:
    """A round after which all stands as before is no change."""
    return re.sub(r"\bround \d+", "", text)


def _took(step: Step) -> str:
    return "" if step.seconds is None else f"{step.seconds:.2f}"
