"""The answers of the endpoint that are not the client's own models."""

from pydantic import BaseModel, ConfigDict

from starter.doctor.findings import Finding
from starter.release_history import ReleaseLine
from taskroll.models.status import Outcome


class SubmissionAnswer(BaseModel):
    """What became of a request."""

    model_config = ConfigDict(extra="forbid")

    request_id: str
    namespace: str
    workflow_id: str
    digest: str
    """Of the request: what it asks for, not who asks."""
    is_new: bool
    """False where the same request had been sent before."""
    outcome: Outcome | None = None
    """Where it had ended before this request."""


class Noted(BaseModel):
    """A wish that the workflow has been told of; the update's status shows what comes of it."""

    model_config = ConfigDict(extra="forbid")

    request_id: str
    noted: str


class DiagnosisAnswer(BaseModel):
    """What an examination found."""

    model_config = ConfigDict(extra="forbid")

    namespace: str
    findings: list[Finding]
    is_healthy: bool
    """True where no check found a problem."""


class ReleaseList(BaseModel):
    """Releases, newest first."""

    model_config = ConfigDict(extra="forbid")

    releases: list[ReleaseLine]
