"""``taskroll reconcile``."""

from starter.cli.command import Target, command
from starter.cli.output import Output, OutputOption


@command
async def reconcile(target: Target, output: OutputOption = Output.TABLE) -> None:
    """Have updates finished whose workflow is gone, now; the worker's schedule does it each minute."""
    from rich.text import Text

    from starter.cli.output import emit, emit_document
    from starter.client import open_client

    async with open_client(target.settings()) as client:
        report = await client.reconcile()
    if output is not Output.TABLE:
        emit_document(report, output)
        return
    lines = [
        *(f"{request_id}: its workflow is gone; it is being finished" for request_id in report.recovering),
        *(f"{request_id}: is being finished already" for request_id in report.under_recovery),
        *(
            f"{request_id}: its workflow did not know that the update is over, or further; it was told. Was Temporal "
            "restored from a back-up?"
            for request_id in report.superseded
        ),
        *(f"{request_id}: waits for an operator: taskroll status {request_id}" for request_id in report.parked),
        f"{report.live} under way",
    ]
    emit(*(Text(line) for line in lines))
