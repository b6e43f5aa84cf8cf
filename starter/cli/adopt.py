"""``taskroll adopt``: what is live becomes what is released."""

from typing import Annotated

import typer

from starter.cli.arguments import (
    ApprovalOption,
    ApprovalTimeoutOption,
    ByOption,
    DrainOption,
    DrainTimeoutOption,
    FenceOption,
    ReasonOption,
    RequestIdOption,
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
async def adopt(
    target: Target,
    definitions: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[DEFINITION]...",
            help="Kind/name, or the name alone, of definitions to take as they are live, or to leave out where "
            "they are gone. None on a cluster without a release: the first one takes all.",
        ),
    ] = None,
    request_id: RequestIdOption = None,
    reason: ReasonOption = "",
    wait: WaitOption = True,
    within: TimeoutOption = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Show what would be taken; write and start nothing.")
    ] = False,
    drain: DrainOption = None,
    drain_timeout: DrainTimeoutOption = None,
    fence: FenceOption = None,
    approval: ApprovalOption = None,
    approval_timeout: ApprovalTimeoutOption = None,
    verify_timeout: VerifyTimeoutOption = None,
    by: ByOption = None,
    output: OutputOption = Output.TABLE,
) -> ExitCode:
    """Take definitions into the release as they are live. An update in all but one: it writes no custom resource."""
    from starter.cli.submitting import conclude, sending
    from starter.client import open_client
    from starter.package_request import DeployOptions

    options = DeployOptions(
        request_id=request_id or ("dry-run" if dry_run else new_request_id("adopt")),
        requested_by=identity(by),
        reason=reason,
        policy=policy(
            drain=drain,
            drain_timeout=drain_timeout,
            fence=fence,
            approval=approval,
            approval_timeout=approval_timeout,
            verify_timeout=verify_timeout,
        ),
    )
    async with sending(target) as state, open_client(target.settings()) as client:
        request = await client.adoption_request(definitions or [], options)
        if dry_run:
            from starter.cli.plan_text import show_plan

            plan = await client.offline_plan(request)
            show_plan(plan, output)
            return ExitCode.NO_CHANGE if plan.is_empty else ExitCode.DONE
        announce(options.request_id, given=request_id is not None)
        state.begin(options.request_id)
        submission = await client.submit(request)
        state.end()
        return await conclude(client, submission, target=target, output=output, wait=wait, within=within)
