"""What deploy, rollback and adopt do around sending the request: say what became of it, and wait."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from starter.cli.exit_codes import ExitCode
from starter.cli.following import follow, outcome_of, show
from starter.cli.output import Output, emit, emit_document, progress

if TYPE_CHECKING:
    from starter.cli.command import Target
    from starter.client import TaskrollClient
    from starter.submission import Submission


@dataclass
class Sending:
    """How far a command is with sending its request, for whoever interrupts it."""

    target: Target
    _said: str | None = "no update was sent"

    def begin(self, request_id: str) -> None:
        """From here on the update may have been started."""
        self._said = (
            f"update {request_id} may have been started. See: {self.target.again(f'status {request_id}')}; the same "
            f"command with --request-id {request_id} sends it no second time"
        )

    def end(self) -> None:
        """What follows says for itself how to come back."""
        self._said = None

    def left(self) -> None:
        """Say it."""
        if self._said:
            progress().print(f"\ninterrupted; {self._said}", markup=False, highlight=False, soft_wrap=True)


@asynccontextmanager
async def sending(target: Target) -> AsyncGenerator[Sending]:
    """Where Ctrl-C ends what is inside, say whether something was sent."""
    state = Sending(target)
    try:
        yield state
    except (asyncio.CancelledError, KeyboardInterrupt):
        state.left()
        raise


async def conclude(
    client: TaskrollClient,
    submission: Submission,
    *,
    target: Target,
    output: Output,
    wait: bool,
    within: float | None,
) -> ExitCode:
    """Show how the update stands or ended; with `wait`, follow it to its end."""
    console = progress()
    if submission.ended is not None:
        console.print(f"update {submission.request_id} had ended before; nothing was started", markup=False)
        from starter.update_view import view_of_record

        view = view_of_record(submission.ended)
        show(view, output)
        return outcome_of(view, target)
    what = "started" if submission.is_new else "known: the same request was sent before;"
    console.print(
        f"update {submission.request_id} {what} workflow {submission.workflow_id}", markup=False, soft_wrap=True
    )
    if wait:
        return await follow(client, submission.request_id, target=target, output=output, within=within)
    if output is Output.TABLE:
        emit(submission.request_id)
        console.print(f"follow it with: {target.again(f'watch {submission.request_id}')}", markup=False, soft_wrap=True)
    else:
        emit_document(submission.document(), output)
    return ExitCode.DONE
