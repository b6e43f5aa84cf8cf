"""``taskroll reject``."""

from starter.cli.arguments import ByOption, ReasonOption, RequestIdArgument
from starter.cli.command import Target, command
from starter.cli.deciding import PlanOption, decide
from starter.cli.output import Output, OutputOption


@command
async def reject(
    target: Target,
    request_id: RequestIdArgument,
    reason: ReasonOption = "",
    by: ByOption = None,
    plan: PlanOption = None,
    output: OutputOption = Output.TABLE,
) -> None:
    """Reject the plan of an update that waits for approval; it ends without a change."""
    await decide(target, request_id, "rejected", reason, by, plan, output)
