"""``taskroll status``: one look at an update."""

from starter.cli.arguments import RequestIdArgument
from starter.cli.command import Target, command
from starter.cli.output import Output, OutputOption


@command
async def status(target: Target, request_id: RequestIdArgument, output: OutputOption = Output.TABLE) -> None:
    """Show where an update stands, or how it ended."""
    from starter.cli.following import advise, show
    from starter.client import open_client

    async with open_client(target.settings()) as client:
        view = await client.status(request_id)
    show(view, output)
    advise(view, target)
