"""``taskroll diff``: what an update changes, for whoever approves it."""

from typing import Annotated

import typer

from starter.cli.arguments import RequestIdArgument
from starter.cli.command import Target, command
from starter.cli.output import Output, OutputOption


@command
async def diff(
    target: Target,
    request_id: RequestIdArgument,
    full: Annotated[
        bool, typer.Option("--full", help="Whole diffs; by default the first 2,000 lines of each module's.")
    ] = False,
    output: OutputOption = Output.TABLE,
) -> None:
    """Show what an update changes: the sources before and after it, as its plan says."""
    from starter.cli.plan_text import show_diff
    from starter.client import open_client

    async with open_client(target.settings()) as client:
        show_diff(await client.diff(request_id, full=full), output)
