"""``taskroll versions``: which version each replica really runs."""

from typing import Annotated

import typer

from starter.cli.command import Target, command
from starter.cli.exit_codes import ExitCode
from starter.cli.output import Output, OutputOption, emit_document


@command
async def versions(
    target: Target,
    replicas: Annotated[
        bool, typer.Option("--replicas", help="A line for each replica, also where many run the same.")
    ] = False,
    check: Annotated[
        bool,
        typer.Option(
            "--check",
            help=f"End with {ExitCode.DEVIATING:d} where a replica does not run the current release, or a custom "
            "resource is not what was released.",
        ),
    ] = False,
    output: OutputOption = Output.TABLE,
) -> ExitCode:
    """Show service × replica × definition: the version that each replica attests, and which of them deviate."""
    from starter.client import open_client

    async with open_client(target.settings()) as client:
        report = await client.versions()
    is_uniform = report.is_uniform()
    if output is Output.TABLE:
        from starter.cli.version_text import show_versions

        show_versions(report, each_replica=replicas)
    else:
        emit_document({**report.model_dump(mode="json"), "is_uniform": is_uniform}, output)
    # Where nobody answered, nothing is proved.
    proved = is_uniform and bool(report.replicas) and not report.drifted()
    return ExitCode.DEVIATING if check and not proved else ExitCode.DONE
