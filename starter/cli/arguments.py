"""Arguments and options that several commands share."""

from __future__ import annotations

import getpass
import os
from typing import TYPE_CHECKING, Annotated, Literal

import typer

if TYPE_CHECKING:
    from taskroll.models.policy import UpdatePolicy


def _not_empty(value: str | None) -> str | None:
    if value == "":
        # A variable of a pipeline that is not set, most likely: with an id made up, a retry would be a second update.
        raise typer.BadParameter("is empty; give an id, or leave the option out to have one made up")
    return value


RequestIdArgument = Annotated[
    str, typer.Argument(metavar="REQUEST_ID", help="The update's request id, as deploy and list show it.")
]
RequestIdOption = Annotated[
    str | None,
    typer.Option(
        "--request-id",
        help="Id of the update: the same id with the same content is the same update, however often it is sent. "
        "Made up and shown where it is left out.",
        callback=_not_empty,
    ),
]
ReasonOption = Annotated[str, typer.Option("--reason", "-r", help="Why, in one line; it stays on record.")]
ByOption = Annotated[
    str | None, typer.Option("--by", help="Who does it. (env TASKROLL_BY, default the user of this system)")
]
WaitOption = Annotated[bool, typer.Option("--wait/--no-wait", help="Wait until the update is over.")]
TimeoutOption = Annotated[
    float | None,
    typer.Option("--timeout", help="Seconds to wait; the update goes on after that.", min=0.001, metavar="SECONDS"),
]
DrainOption = Annotated[
    Literal["wait", "shutdown", "refuse", "live"] | None,
    typer.Option(
        "--drain",
        help="While something uses the closure: wait until it is gone (the default), unregister the apps, end at once, "
        "or let it stay and hold its calls while the services flip (live; needs the agent in every required service).",
    ),
]
LiveTimeoutOption = Annotated[
    float | None,
    typer.Option(
        "--live-timeout", help="With --drain live: seconds that calls in flight have; 30 by default.", metavar="SECONDS"
    ),
]
CancelCallsOption = Annotated[
    bool | None,
    typer.Option("--cancel-calls", help="With --drain live: cancel calls that have not ended by then."),
]
DrainTimeoutOption = Annotated[
    float | None,
    typer.Option(
        "--drain-timeout",
        help="Seconds to wait until nothing uses the closure; 3600 by default.",
        metavar="SECONDS",
    ),
]
GraceOption = Annotated[
    float | None,
    typer.Option(
        "--grace",
        help="With --drain shutdown: seconds that apps may end by themselves before they are unregistered; 30 by "
        "default.",
        metavar="SECONDS",
    ),
]
RestoreAppsOption = Annotated[
    bool,
    typer.Option(
        "--restore-apps",
        help="With --drain shutdown: register the stopped apps again after the update, or after its rollback.",
    ),
]
AppOption = Annotated[
    list[str] | None,
    typer.Option(
        "--app",
        help="Source of a registered app, which the platform does not tell: which definitions it uses is read from it, "
        "and --restore-apps registers it again. May be given several times.",
        metavar="ID=PATH",
    ),
]
FenceOption = Annotated[
    Literal["required", "best-effort"] | None,
    typer.Option(
        "--fence",
        help="Whether the API server has to refuse new instances and foreign edits meanwhile (the default), or may "
        "lack the policies for that.",
    ),
]
ApprovalOption = Annotated[
    Literal["none", "required"] | None,
    typer.Option(
        "--approval", help="Whether somebody has to approve the plan before anything changes; none by default."
    ),
]
ApprovalTimeoutOption = Annotated[
    float | None,
    typer.Option(
        "--approval-timeout",
        help="Seconds to wait for an approval, then the update ends as rejected; a week by default.",
        metavar="SECONDS",
    ),
]
VerifyTimeoutOption = Annotated[
    float | None,
    typer.Option(
        "--verify-timeout",
        help="Seconds until every replica has to attest the release, else it is taken back; 300 by default.",
        metavar="SECONDS",
    ),
]


def identity(by: str | None) -> str:
    """Who runs the command: what was said, ``TASKROLL_BY``, or the user of the operating system."""
    if by or (by := os.environ.get("TASKROLL_BY")):
        return by
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        # A container's user id without an entry in passwd.
        return f"uid-{os.getuid()}"


_ONLY_WITH = {"grace": "shutdown", "restore_apps": "shutdown", "live_timeout": "live", "cancel_calls": "live"}
"""Options that mean nothing unless ``--drain`` says this."""


def policy(**said: str | float | None) -> UpdatePolicy:
    """The policy with what was said in place of the defaults.

    Raises:
        InvalidRequest: for a time that is out of bounds, and for an option without the ``--drain`` that it belongs to;
            it names the option.
    """
    from starter.validation import validated
    from taskroll.models.errors import InvalidRequest
    from taskroll.models.policy import UpdatePolicy

    given = {name: value for name, value in said.items() if value is not None}
    drain = given.get("drain", UpdatePolicy().drain)
    for name, needed in _ONLY_WITH.items():
        if name in given and drain != needed:
            raise InvalidRequest(
                f"{_option(name)} is for --drain {needed}, and drain is {drain}; leave it out, or use --drain {needed}"
            )
    try:
        return validated("policy", lambda: UpdatePolicy.model_validate(given))
    except InvalidRequest as error:
        lines = [f"{_option(path)}: {message}" if path else message for path, message in error.fields]
        raise InvalidRequest("; ".join(lines)) from error


def _option(field: str) -> str:
    return f"--{field.replace('_', '-')}"


def new_request_id(stem: str) -> str:
    """A request id for a command that was given none."""
    from datetime import UTC, datetime

    from starter.request_ids import new_request_id as make

    return make(stem, datetime.now(UTC))


def announce(request_id: str, *, given: bool) -> None:
    """Say a made-up request id before anything is sent under it: the command can then be repeated if it breaks off."""
    if given:
        return
    from starter.cli.output import progress

    progress().print(f"request id {request_id}", markup=False)
