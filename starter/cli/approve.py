"""``taskroll approve``."""

from starter.cli.arguments import ByOption, ReasonOption, RequestIdArgument, TimeoutOption, WaitOption
from starter.cli.command import Target, command
from starter.cli.deciding import PlanOption, decide
from starter.cli.exit_codes import ExitCode
from starter.cli.output import Output, OutputOption


@command
async def approve(
    target: Target,
    request_id: RequestIdArgument,
    reason: ReasonOption = "",
    by: ByOption = None,
    plan: PlanOption = None,
    wait: WaitOption = False,
    within: TimeoutOption = None,
    output: OutputOption = Output.TABLE,
) -> ExitCode:
    """Approve the plan of an update that waits for it."""
    return await decide(target, request_id, "approved", reason, by, plan, wait=wait, within=within, output=output)
