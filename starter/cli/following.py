"""Waiting for an update: a live view on a terminal, a line per change elsewhere; and how that ends."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from starter.cli.exit_codes import ExitCode, of_outcome
from starter.cli.output import Output, emit, emit_document, progress

if TYPE_CHECKING:
    from rich.console import Console

    from starter.cli.command import Target
    from starter.client import TaskrollClient
    from starter.update_view import UpdateView


async def follow(
    client: TaskrollClient, request_id: str, *, target: Target, output: Output, within: float | None
) -> ExitCode:
    """Show an update until it is over, then its status on stdout.

    Ctrl-C and the time-out end the showing, not the update; both say how to come back.

    Args:
        within: Seconds to wait; None waits as long as it takes.
    """
    console = progress()
    come_back = target.again(f"watch {request_id}")
    last: list[UpdateView] = []
    try:
        async with asyncio.timeout(within):
            await (_show_live if console.is_terminal else _show_lines)(client, request_id, console, last)
    except TimeoutError:
        console.print(f"still running after {within:g} s; it goes on. Come back with: {come_back}", markup=False)
        if last:
            show(last[-1], output)
        return ExitCode.STILL_RUNNING
    except asyncio.CancelledError:
        console.print(f"\nleft; update {request_id} goes on. Come back with: {come_back}", markup=False)
        raise
    show(last[-1], output)
    return outcome_of(last[-1], target)


def show(view: UpdateView, output: Output) -> None:
    """Write an update to stdout."""
    if output is not Output.TABLE:
        emit_document(view, output)
        return
    from starter.cli.update_text import describe

    emit(*describe(view))


def outcome_of(view: UpdateView, target: Target) -> ExitCode:
    """The exit code for an update that is over, and on stderr what an operator should do where one is needed."""
    advise(view, target)
    return of_outcome(view.status.outcome)


def advise(view: UpdateView, target: Target) -> None:
    """Say on stderr what an operator should do, where one is needed."""
    status = view.status
    if status.outcome == "needs_operator":
        _warn(f"what stands in the way, and the commands that mend it: {target.again('doctor')}")
        _warn(f"when the cause is gone: {target.again(f'resume {status.request_id}')}")
    elif view.is_orphaned:
        from starter.cli.update_text import way_out

        _warn(way_out(view.execution, target.again("reconcile")))


def _warn(text: str) -> None:
    progress().print(text, style="yellow", markup=False, soft_wrap=True)


async def _show_lines(client: TaskrollClient, request_id: str, console: Console, last: list[UpdateView]) -> None:
    from datetime import UTC, datetime

    from starter.cli.update_text import changes, headline

    def say(text: str, style: str = "", when: datetime | None = None) -> None:
        stamp = (when or datetime.now(UTC)).astimezone(UTC).strftime("%H:%M:%SZ")
        console.print(f"{stamp} {text}", style=style or None, markup=False, soft_wrap=True)

    async for view in client.watch(request_id, on_silence=lambda why: say(f"waiting: {why}", "yellow")):
        for when, text, style in changes(last[-1] if last else None, view):
            say(text, style, when)
        last[:] = [view]
    console.print(headline(last[-1]), soft_wrap=True)


async def _show_live(client: TaskrollClient, request_id: str, console: Console, last: list[UpdateView]) -> None:
    from rich.console import Group
    from rich.live import Live

    from starter.cli.update_text import describe

    # Transient: the status that follows on stdout says the same in its final form.
    with Live(console=console, transient=True, auto_refresh=False) as live:

        def say(why: str) -> None:
            live.console.print(f"waiting: {why}", style="yellow", markup=False)

        async for view in client.watch(request_id, on_silence=say):
            last[:] = [view]
            live.update(Group(*describe(view)), refresh=True)
