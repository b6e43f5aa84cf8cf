"""``taskroll resume``."""

from starter.cli.arguments import ByOption, ReasonOption, RequestIdArgument, TimeoutOption, WaitOption, identity
from starter.cli.command import Target, command
from starter.cli.exit_codes import ExitCode
from starter.cli.output import Output, OutputOption, progress


@command
async def resume(
    target: Target,
    request_id: RequestIdArgument,
    reason: ReasonOption = "",
    by: ByOption = None,
    wait: WaitOption = False,
    within: TimeoutOption = None,
    output: OutputOption = Output.TABLE,
) -> ExitCode:
    """Let an update that needs an operator try again to finish; for when the cause is gone."""
    from starter.cli.following import follow
    from starter.client import open_client
    from starter.validation import validated
    from taskroll.models.decision import ResumeInput

    wish = validated("resume", lambda: ResumeInput(by=identity(by), reason=reason))
    async with open_client(target.settings()) as client:
        await client.resume(request_id, wish)
        progress().print(f"update {request_id}: tries again", markup=False)
        if wait:
            return await follow(client, request_id, target=target, output=output, within=within)
    return ExitCode.DONE
