"""Arguments and options that several commands share."""

from __future__ import annotations

import getpass
import os
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from taskroll.models.policy import UpdatePolicy

RequestIdArgument = Annotated[
    str, typer.Argument(metavar="REQUEST_ID", help="The update's request id, as deploy and list show it.")
]
RequestIdOption = Annotated[
    str | None,
    typer.Option(
        "--request-id",
        help="Id of the update: the same id with the same content is the same update, however often it is sent. "
        "Made up and shown where it is left out.",
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
    str | None,
    typer.Option(
        "--drain",
        help="While instances of the closure live: wait for them to finish (default), or refuse.",
        metavar="wait|refuse",
    ),
]
DrainTimeoutOption = Annotated[
    float | None,
    typer.Option("--drain-timeout", help="Seconds to wait for instances to finish.", metavar="SECONDS"),
]
ApprovalOption = Annotated[
    str | None,
    typer.Option(
        "--approval",
        help="Whether somebody has to approve the plan: none (default), or required.",
        metavar="none|required",
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


def policy(drain: str | None, drain_timeout: float | None, approval: str | None) -> UpdatePolicy:
    """The policy with what was said in place of the defaults.

    Raises:
        InvalidRequest: naming the option.
    """
    from starter.validation import validated
    from taskroll.models.policy import UpdatePolicy

    said = {"drain": drain, "drain_timeout": drain_timeout, "approval": approval}
    given = {name: value for name, value in said.items() if value is not None}
    return validated("policy", lambda: UpdatePolicy.model_validate(given))


def new_request_id(stem: str) -> str:
    """A request id for a command that was given none; shown on stderr, so that the command can be repeated under it."""
    from datetime import UTC, datetime

    from starter.cli.output import progress
    from starter.request_ids import new_request_id as make

    made = make(stem, datetime.now(UTC))
    progress().print(f"request id {made}", markup=False)
    return made
