"""``taskroll release-fence``."""

from typing import Annotated

import typer

from starter.cli.arguments import ByOption, RequestIdArgument, TimeoutOption, WaitOption, identity
from starter.cli.command import Target, command
from starter.cli.exit_codes import ExitCode
from starter.cli.output import Output, OutputOption, progress


@command
async def release_fence(
    target: Target,
    request_id: RequestIdArgument,
    reason: Annotated[str, typer.Option("--reason", "-r", help="Why, in one line; it stays on record.")],
    by: ByOption = None,
    wait: WaitOption = False,
    within: TimeoutOption = None,
    output: OutputOption = Output.TABLE,
) -> ExitCode:
    """Take the fence of a parked or dead update down, and leave what it did as it is; for when nothing else helps."""
    from starter.cli.following import follow
    from starter.client import open_client
    from starter.validation import validated
    from taskroll.models.decision import ReleaseInput

    wish = validated("release-fence", lambda: ReleaseInput(by=identity(by), reason=reason))
    async with open_client(target.settings()) as client:
        await client.release_fence(request_id, wish)
        progress().print(f"update {request_id}: its fence comes down, nothing is taken back", markup=False)
        if wait:
            return await follow(client, request_id, target=target, output=output, within=within)
    return ExitCode.DONE
