"""``taskroll list``: the updates of a namespace."""

from typing import Annotated

import typer

from starter.cli.command import Target, command
from starter.cli.output import Output, OutputOption, emit_document, emit_table, progress


@command
async def list_updates(
    target: Target,
    limit: Annotated[int, typer.Option("--limit", "-l", help="How many, the latest first; 1 to 500.")] = 50,
    cursor: Annotated[
        str | None, typer.Option("--cursor", help="Go on after the page that gave this next_cursor.")
    ] = None,
    output: OutputOption = Output.TABLE,
) -> None:
    """List updates: running ones and those on record."""
    from rich.text import Text

    from starter.cli.update_text import colour, line_state, moment, short_commit, way_out
    from starter.client import open_client

    async with open_client(target.settings()) as client:
        page = await client.list_updates(limit, cursor)
    if output is not Output.TABLE:
        emit_document(page, output)
        return
    emit_table(
        ("REQUEST ID", "STATE", "RELEASE", "STARTED", "BY", "COMMIT", "REASON"),
        [
            (
                line.request_id,
                Text(line_state(line), style="bold red" if line.is_orphaned else colour(line.outcome or "running")),
                str(line.epoch or ""),
                moment(line.started_at),
                line.requested_by,
                short_commit(line.git_commit, line.git_dirty),
                line.reason,
            )
            for line in page.updates
        ],
    )
    for line in page.updates:
        if line.is_orphaned:
            say = f"{line.request_id}: {way_out(line.execution, target.again('reconcile'))}"
            progress().print(say, style="yellow", markup=False, soft_wrap=True)
    if page.notice:
        progress().print(page.notice, style="yellow", markup=False, soft_wrap=True)
    if page.next_cursor:
        progress().print(f"more: {target.again('list')} --cursor {page.next_cursor}", markup=False, soft_wrap=True)
