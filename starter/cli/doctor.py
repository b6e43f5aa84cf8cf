"""``taskroll doctor``: what is inconsistent, in words, and the commands that mend it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from starter.cli.command import Target, command
from starter.cli.exit_codes import ExitCode
from starter.cli.output import Output, OutputOption, emit, emit_document

if TYPE_CHECKING:
    from starter.doctor.findings import Diagnosis

_STYLES = {"ok": "green", "warning": "yellow", "problem": "bold red", "skipped": "dim"}


@command
async def doctor(target: Target, output: OutputOption = Output.TABLE) -> ExitCode:
    """Look for what is inconsistent, say it in words, and print the commands that mend it. Changes nothing."""
    from starter.client import open_client

    async with open_client(target.settings()) as client:
        diagnosis = await client.examine(target.again)
    if output is Output.TABLE:
        _show(diagnosis)
    else:
        emit_document({**diagnosis.model_dump(mode="json"), "is_healthy": diagnosis.is_healthy}, output)
    return ExitCode.DONE if diagnosis.is_healthy else ExitCode.UNHEALTHY


def _show(diagnosis: Diagnosis) -> None:
    from rich.text import Text

    from taskroll.models.wording import counted

    for finding in diagnosis.findings:
        state = Text(f"{finding.state:<8}", style=_STYLES[finding.state])
        emit(Text.assemble(state, f" {finding.check:<18} {finding.message}"))
        for detail in finding.details:
            emit(f"{'':27} {detail}")
        for remedy in finding.remedies:
            emit(f"{'':27} {remedy.purpose}:", f"{'':29} {remedy.command}")
    problems = sum(finding.state == "problem" for finding in diagnosis.findings)
    warnings = sum(finding.state == "warning" for finding in diagnosis.findings)
    verdict = (
        f"{counted(problems, 'problem')}, {counted(warnings, 'warning')}" if problems or warnings else "all is well"
    )
    emit("", f"{diagnosis.namespace}: {verdict}")
