"""What approve and reject have in common."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

import typer

from starter.cli.arguments import identity
from starter.cli.output import Output, emit, emit_document

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
    output: Output,
) -> None:
    """Send a decision, and show that it was taken."""
    from starter.client import open_client
    from starter.validation import validated
    from taskroll.models.decision import DecisionInput

    wish = validated(
        decision, lambda: DecisionInput(decision=decision, by=identity(by), reason=reason, plan_digest=plan)
    )
    async with open_client(target.settings()) as client:
        taken = await client.decide(request_id, wish)
    if output is Output.TABLE:
        emit(f"update {request_id} {taken.decision} by {taken.by}: plan {taken.plan_digest}")
    else:
        emit_document(taken, output)
