"""``taskroll history``: the releases of a namespace."""

from typing import Annotated

import typer

from starter.cli.command import Target, command
from starter.cli.output import Output, OutputOption, emit_document, emit_table


@command
async def history(
    target: Target,
    limit: Annotated[int | None, typer.Option("--limit", "-l", help="How many, the latest first.", min=1)] = None,
    output: OutputOption = Output.TABLE,
) -> None:
    """List releases: who put them in place, when, why, from which commit, and how that ended. Needs no Temporal."""
    from starter.cli.update_text import moment, short_commit
    from starter.client import open_client

    async with open_client(target.settings()) as client:
        releases = await client.history(limit)
    if output is not Output.TABLE:
        emit_document({"releases": releases}, output)
        return
    emit_table(
        ("RELEASE", "", "ORIGIN", "OUTCOME", "CREATED", "BY", "COMMIT", "REQUEST ID", "REASON"),
        [
            (
                str(line.epoch),
                "current" if line.is_current else "taken back" if line.is_taken_back else "",
                line.origin,
                line.outcome or "",
                moment(line.created_at),
                line.requested_by,
                short_commit(line.git_commit, line.git_dirty),
                line.request_id,
                line.reason,
            )
            for line in releases
        ],
    )
