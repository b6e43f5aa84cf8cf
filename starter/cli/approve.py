"""``taskroll approve``."""

from starter.cli.arguments import ByOption, ReasonOption, RequestIdArgument
from starter.cli.command import Target, command
from starter.cli.deciding import PlanOption, decide
from starter.cli.output import Output, OutputOption


@command
async def approve(
    target: Target,
    request_id: RequestIdArgument,
    reason: ReasonOption = "",
    by: ByOption = None,
    plan: PlanOption = None,
    output: OutputOption = Output.TABLE,
) -> None:
    """Approve the plan of an update that waits for it."""
    await decide(target, request_id, "approved", reason, by, plan, output)
