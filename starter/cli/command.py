"""What all commands have in common: the options that say whom to talk to, the event loop, and how errors are shown."""

import asyncio
import inspect
import signal
import sys
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass, field
from typing import Annotated, Any

import typer

from starter.cli.exit_codes import ExitCode, of_error
from starter.settings import Flags, Settings, resolve

_PANEL = "Where"

_FLAG_OPTIONS: dict[str, Any] = {
    "namespace": Annotated[
        str | None,
        typer.Option(
            "--namespace",
            "-n",
            help="Kubernetes namespace of the definitions. (env TASKROLL_NAMESPACE, default cornserve)",
            rich_help_panel=_PANEL,
        ),
    ],
    "kubeconfig": Annotated[
        str | None,
        typer.Option(
            help="Path of the kubeconfig. (env TASKROLL_KUBECONFIG, KUBECONFIG)",
            metavar="PATH",
            rich_help_panel=_PANEL,
        ),
    ],
    "context": Annotated[
        str | None,
        typer.Option(help="Context of the kubeconfig. (env TASKROLL_CONTEXT)", rich_help_panel=_PANEL),
    ],
    "profile": Annotated[
        str | None,
        typer.Option(help="Profile of Temporal's TOML file. (env TEMPORAL_PROFILE)", rich_help_panel=_PANEL),
    ],
    "temporal_address": Annotated[
        str | None,
        typer.Option(help="Temporal's host:port. (env TEMPORAL_ADDRESS)", metavar="HOST:PORT", rich_help_panel=_PANEL),
    ],
    "task_queue": Annotated[
        str | None,
        typer.Option(
            help="Task queue of the workers. (env TASKROLL_TASK_QUEUE, default taskroll)", rich_help_panel=_PANEL
        ),
    ],
    "debug": Annotated[bool, typer.Option("--debug", help="Show tracebacks of errors.", rich_help_panel=_PANEL)],
}


@dataclass(frozen=True)
class Target:
    """Whom a command talks to, from the options before and after its name; those after it win."""

    flags: Flags = field(default_factory=Flags)
    debug: bool = False

    def settings(self) -> Settings:
        """Flags, then environment, then defaults.

        Raises:
            InvalidRequest: naming the option whose value is wrong.
        """
        return resolve(self.flags)

    def again(self, command: str) -> str:
        """The command line that asks the same place: to come back to an update, say."""
        options = {
            "-n": self.flags.namespace,
            "--kubeconfig": self.flags.kubeconfig,
            "--context": self.flags.context,
            "--profile": self.flags.profile,
            "--temporal-address": self.flags.temporal_address,
            "--task-queue": self.flags.task_queue,
        }
        import shlex

        said = [f"{option} {shlex.quote(value)}" for option, value in options.items() if value is not None]
        return " ".join(["taskroll", command, *said])


Command = Callable[..., Coroutine[Any, Any, ExitCode | None]]


def with_target(function: Callable[..., None]) -> Callable[..., None]:
    """Give the group's callback the common options; what they say is kept for the command."""

    def call(context: typer.Context, flags: Flags, debug: bool, arguments: dict[str, Any]) -> None:
        context.obj = Target(flags, debug)
        function(**arguments)

    return _with_flag_options(function, call, skipped=0)


def command(function: Command) -> Callable[..., None]:
    """Make a Typer command of a coroutine function whose first parameter is its `Target`.

    It gets the common options, runs in an event loop of its own, and ends with the exit code that it returns. Errors
    that taskroll raises on purpose become one message on stderr and an exit code.
    """

    def call(context: typer.Context, flags: Flags, debug: bool, arguments: dict[str, Any]) -> None:
        before = context.obj if isinstance(context.obj, Target) else Target()
        target = Target(flags.over(before.flags), debug or before.debug)
        raise typer.Exit(_run(lambda: function(target, **arguments), target))

    return _with_flag_options(function, call, skipped=1)


def _with_flag_options(
    function: Callable[..., Any],
    call: Callable[[typer.Context, Flags, bool, dict[str, Any]], None],
    *,
    skipped: int,
) -> Callable[..., None]:
    """A function with the parameters of `function` but the first `skipped`, and the common options after them."""
    own = list(inspect.signature(function, eval_str=True).parameters.values())[skipped:]

    def wrapper(**arguments: Any) -> None:
        context: typer.Context = arguments.pop("typer_context")
        debug: bool = arguments.pop("debug")
        flags = Flags(**{name: arguments.pop(name) for name in _FLAG_OPTIONS if name != "debug"})
        call(context, flags, debug, arguments)

    context = inspect.Parameter("typer_context", inspect.Parameter.KEYWORD_ONLY, annotation=typer.Context)
    common = [
        inspect.Parameter(
            name, inspect.Parameter.KEYWORD_ONLY, annotation=option, default=False if name == "debug" else None
        )
        for name, option in _FLAG_OPTIONS.items()
    ]
    parameters = [context, *(each.replace(kind=inspect.Parameter.KEYWORD_ONLY) for each in own), *common]
    wrapper.__name__, wrapper.__doc__, wrapper.__module__ = function.__name__, function.__doc__, function.__module__
    wrapper.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    wrapper.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    return wrapper


def _run(start: Callable[[], Awaitable[ExitCode | None]], target: Target) -> ExitCode:
    async def main() -> ExitCode | None:
        return await start()

    # The event loop takes Ctrl-C over from this handler and no other, and cancels the command in good order.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        return asyncio.run(main()) or ExitCode.DONE
    except KeyboardInterrupt:
        return ExitCode.INTERRUPTED
    except BrokenPipeError:
        # The reader has enough, as in `taskroll list | head`: no error of ours. Python would complain at exit.
        sys.stdout = None
        return ExitCode.DONE
    except Exception as error:  # noqa: BLE001 - the last stop before the user
        return report(error, debug=target.debug)


def report(error: Exception, *, debug: bool) -> ExitCode:
    """Say on stderr what went wrong, and return the exit code for it."""
    from starter.cli.output import progress
    from taskroll.models.errors import TamperedState, TaskrollError

    if debug:
        import traceback

        traceback.print_exception(error)
    console = progress()
    if isinstance(error, TaskrollError):
        console.print(f"error: {error.message}", style="red", markup=False, highlight=False, soft_wrap=True)
        for detail in error.details:
            console.print(f"  - {detail}", markup=False, highlight=False, soft_wrap=True)
        if isinstance(error, TamperedState):
            console.print("what mends it: taskroll doctor", markup=False, highlight=False, soft_wrap=True)
    else:
        console.print(
            f"unexpected error: {type(error).__name__}: {error}; --debug shows where",
            style="red",
            markup=False,
            highlight=False,
            soft_wrap=True,
        )
    return of_error(error)
