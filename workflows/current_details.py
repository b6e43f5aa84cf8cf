"""The Markdown that the Temporal web UI shows as a workflow's current details."""

from taskroll.models.status import UpdateStatus

_MARKS = {"running": "▶", "done": "✓", "failed": "✗", "cancelled": "⊘"}


def render(status: UpdateStatus) -> str:
    """A heading, what the update waits for, the plan in a line, and a table of the steps."""
    lines = [f"### {status.outcome or status.phase}", ""]
    if status.message:
        lines += [status.message, ""]
    if status.waiting_for:
        lines += ["**Waits for**", "", *(f"- {whom}" for whom in status.waiting_for[:20]), ""]
    if status.plan:
        plan = status.plan
        reach = ", ".join(f"{service.name} × {service.replicas}" for service in plan.services)
        lines += [
            f"**Plan {plan.number}**: {plan.in_words()}; closure of {plan.closure}; {reach or 'no services'}",
            "",
        ]
        if plan.apps:
            lines += ["**In use by**", "", *(f"- {app}" for app in plan.apps), ""]
    if status.apps:
        lines += ["**Apps stopped**", "", *(f"- {app}" for app in status.apps), ""]
    for decision in status.decisions:
        lines += [f"**{decision.decision}** by {decision.by}: {decision.reason or '(no reason given)'}", ""]
    if status.steps:
        lines += ["| step | state | seconds | |", "|---|---|---|---|"]
        for step in status.steps:
            seconds = "" if step.seconds is None else f"{step.seconds:.2f}"
            lines.append(f"| {step.name} | {_MARKS[step.state]} {step.state} | {seconds} | {step.detail} |")
    return "\n".join(lines)
