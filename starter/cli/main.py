"""``taskroll``, the deploy tool. Commands import what they need when they run, so that help answers at once."""

import sys
from io import TextIOWrapper
from typing import Annotated, Any, cast

import typer
from typer.core import TyperGroup

from starter.cli.abort import abort
from starter.cli.adopt import adopt
from starter.cli.approve import approve
from starter.cli.command import with_target
from starter.cli.deploy import deploy
from starter.cli.dev import app as dev
from starter.cli.diff import diff
from starter.cli.doctor import doctor
from starter.cli.exit_codes import ExitCode
from starter.cli.history import history
from starter.cli.list_updates import list_updates
from starter.cli.prune import prune
from starter.cli.reconcile import reconcile
from starter.cli.reject import reject
from starter.cli.release_fence import release_fence
from starter.cli.resume import resume
from starter.cli.rollback import rollback
from starter.cli.serve import serve
from starter.cli.status import status
from starter.cli.versions import versions
from starter.cli.watch import watch


class _Commands(TyperGroup):
    """Usage errors say which value was given, as all other errors do."""

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except typer.BadParameter as error:
            from pydantic import ValidationError

            cause = error.__cause__
            if isinstance(cause, ValidationError) and cause.error_count() == 1:
                value = str(cause.errors()[0]["input"])
                error.message = f"{error.message.removeprefix('Value error, ')} (was {value!r:.80})"
            raise


app = typer.Typer(
    name="taskroll",
    cls=_Commands,
    help="Update deployed task definitions: every service on the same version, or none of them moved.",
    epilog="Exit codes and more: docs/cli.md",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

_UPDATE, _LOOK, _DECIDE, _RUN = "Change what runs", "Look", "Decide about an update", "Run"


def _print_version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        typer.echo(f"taskroll {version('taskroll')}")
        raise typer.Exit


@app.callback()
@with_target
def options(
    version: Annotated[
        bool, typer.Option("--version", help="Print the version.", is_eager=True, callback=_print_version)
    ] = False,
) -> None:
    """Update deployed task definitions: every service on the same version, or none of them moved."""


app.command(rich_help_panel=_UPDATE)(deploy)
app.command(rich_help_panel=_UPDATE)(rollback)
app.command(rich_help_panel=_UPDATE)(adopt)
app.command(rich_help_panel=_UPDATE)(prune)
app.command(rich_help_panel=_LOOK)(status)
app.command(rich_help_panel=_LOOK)(watch)
app.command(rich_help_panel=_LOOK)(versions)
app.command(rich_help_panel=_LOOK)(doctor)
app.command("list", rich_help_panel=_LOOK)(list_updates)
app.command(rich_help_panel=_LOOK)(history)
app.command(rich_help_panel=_DECIDE)(diff)
app.command(rich_help_panel=_DECIDE)(approve)
app.command(rich_help_panel=_DECIDE)(reject)
app.command(rich_help_panel=_DECIDE)(abort)
app.command(rich_help_panel=_DECIDE)(resume)
app.command("release-fence", rich_help_panel=_DECIDE)(release_fence)
app.command(rich_help_panel=_DECIDE)(reconcile)
app.command(rich_help_panel=_RUN)(serve)
app.add_typer(dev, name="dev", rich_help_panel=_RUN)


def main() -> None:
    """Run the command line, and end the process with its exit code."""
    if sys.stdout is None:
        # Before anything is done: what is opened next would get the number of stdout.
        typer.echo("error: stdout is closed; to do without the output, send it to /dev/null", err=True)
        sys.exit(ExitCode.BAD_INPUT)
    stdout: object = sys.stdout
    if isinstance(stdout, TextIOWrapper):
        # In a locale that lacks a letter, such as `×`, a question mark stands for it.
        cast("TextIOWrapper[Any]", stdout).reconfigure(errors="replace")
    try:
        app(prog_name="taskroll")
    except SystemExit as end:
        if isinstance(end.__context__, BrokenPipeError):
            # The reader of `taskroll --help | head -1` has enough: no failure of ours.
            sys.stdout = None
            sys.exit(ExitCode.DONE)
        if "temporalio" in sys.modules:
            from taskroll.process_exit import end_process

            end_process(end.code)
        raise
