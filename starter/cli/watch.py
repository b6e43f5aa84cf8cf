"""``taskroll watch``: follow an update to its end."""

from starter.cli.arguments import RequestIdArgument, TimeoutOption
from starter.cli.command import Target, command
from starter.cli.exit_codes import ExitCode
from starter.cli.output import Output, OutputOption


@command
async def watch(
    target: Target, request_id: RequestIdArgument, within: TimeoutOption = None, output: OutputOption = Output.TABLE
) -> ExitCode:
    """Follow an update until it is over; the exit code says how it ended."""
    from starter.cli.following import follow
    from starter.client import open_client

    async with open_client(target.settings()) as client:
        return await follow(client, request_id, target=target, output=output, within=within)
