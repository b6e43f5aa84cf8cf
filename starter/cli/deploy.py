"""``taskroll deploy``: a task package on disk becomes what the services run."""

from pathlib import Path
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
from starter.cli.output import Output, OutputOption, progress


@command
async def deploy(
    target: Target,
    path: Annotated[Path, typer.Argument(metavar="PATH", help="Folder of the Python package with the tasks.")],
    request_id: RequestIdOption = None,
    reason: ReasonOption = "",
    wait: WaitOption = True,
    within: TimeoutOption = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Show what would change, with diffs; write and start nothing.")
    ] = False,
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
    prune: Annotated[
        bool, typer.Option("--prune", help="Delete live definitions of the package's modules that it no longer has.")
    ] = False,
    by: ByOption = None,
    output: OutputOption = Output.TABLE,
) -> ExitCode:
    """Deploy the tasks of a package: unit tasks, composite tasks, descriptors.

    They are found in the text of the package; nothing of it is run. Only sources that the cluster lacks are sent.
    """
    from starter.app_files import read_apps
    from starter.cli.submitting import conclude, sending
    from starter.client import open_client
    from starter.package_request import DeployOptions

    options = DeployOptions(
        request_id=request_id or ("dry-run" if dry_run else new_request_id(path.resolve().name)),
        requested_by=identity(by),
        reason=reason,
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
        prune=prune,
        apps=read_apps(app or []),
    )
    async with sending(target) as state, open_client(target.settings()) as client:
        found = await client.package_request(path, options)
        for warning in found.warnings:
            progress().print(warning, style="yellow", markup=False, soft_wrap=True)
        if dry_run:
            from starter.cli.plan_text import show_plan

            plan = await client.offline_plan(found.request, found.package.config.provided)
            show_plan(plan, output)
            return ExitCode.NO_CHANGE if plan.is_empty else ExitCode.DONE
        announce(options.request_id, given=request_id is not None)
        state.begin(options.request_id)
        submission = await client.submit(found.request)
        state.end()
        return await conclude(client, submission, target=target, output=output, wait=wait, within=within)
