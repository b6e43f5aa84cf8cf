"""What an examination found: per check a sentence, what it is about, and the commands that mend it."""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

CheckName = Literal[
    "api-server",
    "crds",
    "rights",
    "admission",
    "temporal",
    "search-attributes",
    "workers",
    "release",
    "revisions",
    "fence",
    "updates",
    "definitions",
    "module-sources",
    "worker-rights",
    "replicas",
    "instances",
    "apps",
    "records",
]
"""Stable; docs/cli.md says what each looks at."""

State = Literal["ok", "warning", "problem", "skipped"]
"""``problem``: a guarantee does not hold, or an update would fail. ``warning``: all holds, and somebody should know.
``skipped``: it could not be looked at."""


class _Model(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Remedy(_Model):
    """One way out. Where a finding has several, they exclude each other."""

    purpose: str
    """What the command achieves, as an imperative."""
    command: str
    """As it is typed into a shell."""


class Finding(_Model):
    """What one check found."""

    check: CheckName
    state: State
    message: str
    """One sentence."""
    details: list[str] = Field(default_factory=list[str])
    """What it is about, one line each."""
    remedies: list[Remedy] = Field(default_factory=list[Remedy])


class Diagnosis(_Model):
    """All findings, in the order of the checks."""

    namespace: str
    findings: list[Finding]

    @property
    def is_healthy(self) -> bool:
        """True where no check found a problem."""
        return not any(finding.state == "problem" for finding in self.findings)


def ok(check: CheckName, message: str, details: list[str] | None = None) -> Finding:
    return Finding(check=check, state="ok", message=message, details=details or [])
