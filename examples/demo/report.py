"""What the demo reports in ``build/demo/report.json``."""

from datetime import datetime
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid")


class ServiceReport(_Part):
    name: str
    replicas: int
    """Processes of the service."""


class PhaseReport(_Part):
    """One step of an update, as the saga recorded it, in the order of the starts."""

    name: str
    started: datetime
    seconds: float


class RequestsReport(_Part):
    """The load on all services between the start and the end of an update."""

    by_version: dict[str, int]
    """Answers by the version of the library that computed them."""
    mixed: int
    """Answers to which tasks of two versions contributed."""
    retried: int
    """Answered by another replica, after the connection to the first one broke."""
    failed: int


class UpdateReport(_Part):
    """One update."""

    request_id: str
    outcome: Literal["completed", "rolled_back", "rejected", "no_change", "needs_operator"]
    message: str
    epoch: int
    """The release in place when it had ended: its own, or the former content."""
    replicas: int
    """That attested this release afterwards."""
    phases: list[PhaseReport]
    mixed_version_window_ms: float | None
    """From the first replica on the release to the last, by the replicas' own clocks; None where none moved."""
    mixed_answers_window_ms: float | None
    """The same as the load saw it: from the first answer of the new version to the last one of the old. Negative where
    the last old answer came first; None where answers of one version only were seen."""
    requests: RequestsReport
    restored_byte_for_byte: bool | None
    """For an update that was taken back: whether all custom resources are what they were, compared by the demo."""
    history_events: int
    """Events of the workflow's history."""


class LoadReport(_Part):
    """The whole load, between the updates too."""

    requests_per_second: float
    answers: int
    mixed: int
    retried: int
    failed: int
    failures: dict[str, int] = Field(default_factory=dict[str, int])
    """Reason → count."""


class DemoReport(_Part):
    started_at: datetime
    seconds: float
    python: str
    services: list[ServiceReport]
    updates: list[UpdateReport]
    load: LoadReport
