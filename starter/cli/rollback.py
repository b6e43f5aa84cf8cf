"""``taskroll rollback``: go back to a release."""

from typing import Annotated

import typer

from starter.cli.arguments import (
    AppOption,
    ApprovalOption,
    ApprovalTimeoutOption,
    ByOption,
    CancelCallsOption,
    DrainOption,
    DrainTimeoutOption,
    FenceOption,
    GraceOption,
    LiveTimeoutOption,
    ReasonOption,
    RequestIdOption,
    RestoreAppsOption,
    TimeoutOption,
    VerifyTimeoutOption,
    WaitOption,
    announce,
    identity,
    new_request_id,
    policy,
)
from starter.cli.command import Target, command
from starter.cli.exit_codes import ExitCode
from starter.cli.output import Output, OutputOption


@command
async def rollback(
    target: Target,
    to: Annotated[
        int | None,
        typer.Option(
            "--to",
            help="Number of the release, from history. Default: the newest good one that differs from the current.",
            metavar="RELEASE",
        ),
    ] = None,
    request_id: RequestIdOption = None,
    reason: ReasonOption = "",
    wait: WaitOption = True,
    within: TimeoutOption = None,
    drain: DrainOption = None,
    drain_timeout: DrainTimeoutOption = None,
    grace: GraceOption = None,
    restore_apps: RestoreAppsOption = False,
    app: AppOption = None,
    live_timeout: LiveTimeoutOption = None,
    cancel_calls: CancelCallsOption = None,
    fence: FenceOption = None,
    approval: ApprovalOption = None,
    approval_timeout: ApprovalTimeoutOption = None,
    verify_timeout: VerifyTimeoutOption = None,
    by: ByOption = None,
    output: OutputOption = Output.TABLE,
) -> ExitCode:
    """Go back to an earlier release. That is an update too: planned, fenced and verified, with a new release number."""
    from starter.app_files import read_apps
    from starter.cli.submitting import conclude, sending
    from starter.client import open_client

    async with sending(target) as state, open_client(target.settings()) as client:
        made = request_id or new_request_id("rollback" if to is None else f"rollback-{to}")
        announce(made, given=request_id is not None)
        state.begin(made)
        submission = await client.rollback(
            made,
            requested_by=identity(by),
            to=to,
            reason=reason,
            apps=read_apps(app or []),
            policy=policy(
                drain=drain,
                drain_timeout=drain_timeout,
                grace=grace,
                restore_apps=restore_apps or None,
                live_timeout=live_timeout,
                cancel_calls=cancel_calls,
                fence=fence,
                approval=approval,
                approval_timeout=approval_timeout,
                verify_timeout=verify_timeout,
            ),
        )
        state.end()
        return await conclude(client, submission, target=target, output=output, wait=wait, within=within)
