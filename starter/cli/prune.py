"""``taskroll prune``: take away the sources that no kept release needs."""

from typing import Annotated

import typer

from starter.cli.command import Target, command
from starter.cli.exit_codes import ExitCode
from starter.cli.output import Output, OutputOption, emit, emit_document


@command
async def prune(
    target: Target,
    keep: Annotated[
        int, typer.Option("--keep", help="How many of the newest releases a rollback can still choose.", min=1)
    ],
    older_than: Annotated[
        float,
        typer.Option(
            "--older-than",
            help="Seconds; what was stored later stays. At least as long as a client may take to send a request.",
            min=0,
            metavar="SECONDS",
        ),
    ] = 3600.0,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show what would be deleted; delete nothing.")] = False,
    output: OutputOption = Output.TABLE,
) -> ExitCode:
    """Delete stored sources and plans that no kept release, no custom resource and no open update needs.

    Needs the right to delete controllerrevisions, which neither role of taskroll has. It cannot be undone.
    """
    from starter.client import open_client

    async with open_client(target.settings()) as client:
        pruned = await client.prune(keep, older_than=older_than, dry_run=dry_run)
    if output is not Output.TABLE:
        emit_document(pruned, output)
    else:
        for name in pruned.names:
            emit(name)
        kept = ", ".join(map(str, pruned.kept_releases)) or "none: nothing has been released"
        verb = "would be deleted" if dry_run else "deleted"
        emit(f"{len(pruned.names)} objects {verb}; releases that a rollback can choose: {kept}")
    return ExitCode.DONE if pruned.names else ExitCode.NO_CHANGE
