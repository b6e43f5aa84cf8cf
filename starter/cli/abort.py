"""``taskroll abort``."""

from starter.cli.arguments import ByOption, ReasonOption, RequestIdArgument, TimeoutOption, WaitOption, identity
from starter.cli.command import Target, command
from starter.cli.exit_codes import ExitCode
from starter.cli.output import Output, OutputOption, progress


@command
async def abort(
    target: Target,
    request_id: RequestIdArgument,
    reason: ReasonOption = "",
    by: ByOption = None,
    wait: WaitOption = False,
    within: TimeoutOption = None,
    output: OutputOption = Output.TABLE,
) -> ExitCode:
    """Stop an update and have what it did taken back."""
    from starter.cli.following import follow
    from starter.client import open_client
    from starter.validation import validated
    from taskroll.models.decision import AbortInput

    wish = validated("abort", lambda: AbortInput(by=identity(by), reason=reason))
    async with open_client(target.settings()) as client:
        await client.abort(request_id, wish)
        progress().print(f"update {request_id}: abort noted; what it did is taken back", markup=False)
        if wait:
            return await follow(client, request_id, target=target, output=output, within=within)
    return ExitCode.DONE
