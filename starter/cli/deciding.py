"""What approve and reject have in common."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

import typer

from starter.cli.arguments import identity
from starter.cli.exit_codes import ExitCode
from starter.cli.output import Output, emit, emit_document, progress

if TYPE_CHECKING:
    from starter.cli.command import Target

PlanOption = Annotated[
    str | None,
    typer.Option(
        "--plan",
        help="Digest of the plan that was looked at, from status -o json: the decision counts for that plan only.",
        metavar="DIGEST",
    ),
]


async def decide(
    target: Target,
    request_id: str,
    decision: Literal["approved", "rejected"],
    reason: str,
    by: str | None,
    plan: str | None,
    *,
    wait: bool,
    within: float | None,
    output: Output,
) -> ExitCode:
    """Send a decision, and show that it was taken; with `wait`, follow the update to its end."""
    from starter.cli.following import follow
    from starter.client import open_client
    from starter.validation import validated
    from taskroll.models.decision import DecisionInput

    wish = validated(
        decision, lambda: DecisionInput(decision=decision, by=identity(by), reason=reason, plan_digest=plan)
    )
    async with open_client(target.settings()) as client:
        taken = await client.decide(request_id, wish)
        said = f"update {request_id} {taken.decision} by {taken.by}: plan {taken.plan_digest}"
        if wait:
            progress().print(said, markup=False, soft_wrap=True)
            return await follow(client, request_id, target=target, output=output, within=within)
    if output is Output.TABLE:
        emit(said)
    else:
        emit_document(taken, output)
    return ExitCode.DONE
