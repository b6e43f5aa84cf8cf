"""What a front shows of an update: its status, and what Temporal knows beside it."""

from typing import Any, Literal, cast

from pydantic import BaseModel, ConfigDict, Field
from temporalio.client import WorkflowExecutionDescription, WorkflowExecutionStatus
from temporalio.converter import DataConverter

from taskroll.models.names import workflow_id
from taskroll.models.provenance import GitProvenance
from taskroll.models.status import UpdateStatus

Execution = Literal["running", "completed", "failed", "canceled", "terminated", "timed_out", "recorded"]
"""State of the workflow; ``recorded`` where the status is from the record: Temporal no longer has it, or cannot say."""

_EXECUTIONS: dict[WorkflowExecutionStatus, Execution] = {
    WorkflowExecutionStatus.RUNNING: "running",
    WorkflowExecutionStatus.COMPLETED: "completed",
    WorkflowExecutionStatus.FAILED: "failed",
    WorkflowExecutionStatus.CANCELED: "canceled",
    WorkflowExecutionStatus.TERMINATED: "terminated",
    WorkflowExecutionStatus.TIMED_OUT: "timed_out",
}


class ActivityProgress(BaseModel):
    """How far a running activity is, from its last heartbeat."""

    model_config = ConfigDict(extra="forbid")

    activity: str
    attempt: int = 1
    done: int | None = None
    total: int | None = None
    note: str = ""
    failure: str | None = None
    """Why the attempt before this one failed."""


class UpdateView(BaseModel):
    """One look at an update."""

    model_config = ConfigDict(extra="forbid")

    status: UpdateStatus
    workflow_id: str
    execution: Execution
    progress: list[ActivityProgress] = Field(default_factory=list[ActivityProgress])
    notice: str | None = None
    """Why this look may be old or incomplete: Temporal or the workers do not answer, say."""
    git: GitProvenance | None = None
    """Where the sources came from, as the request says; None also where the cluster could not be asked."""

    @property
    def is_over(self) -> bool:
        """True where nothing more comes unless somebody acts: ended, parked for an operator, or the workflow closed."""
        return self.status.is_settled or self.execution != "running"

    @property
    def is_orphaned(self) -> bool:
        """True where the workflow is gone or closed and the update had not ended: terminated by hand, say."""
        return not self.status.is_settled and self.execution != "running"


def view_of_record(status: UpdateStatus, notice: str | None = None) -> UpdateView:
    """The view of an update from its record."""
    return UpdateView(
        status=status, workflow_id=workflow_id(status.namespace, status.request_id), execution="recorded", notice=notice
    )


def execution_of(description: WorkflowExecutionDescription) -> Execution:
    """The workflow's state, in our words."""
    return _EXECUTIONS.get(description.status or WorkflowExecutionStatus.RUNNING, "running")


async def progress_of(description: WorkflowExecutionDescription, converter: DataConverter) -> list[ActivityProgress]:
    """The pending activities with the counts of their last heartbeats; what is not of that form is passed over."""
    found: list[ActivityProgress] = []
    for pending in description.raw_description.pending_activities:
        progress = ActivityProgress(activity=pending.activity_type.name, attempt=max(1, pending.attempt))
        if pending.HasField("last_failure"):
            progress.failure = pending.last_failure.message
        if pending.HasField("heartbeat_details"):
            details: list[Any] = await converter.decode(pending.heartbeat_details.payloads)
            if details and isinstance(details[0], dict):
                _take_counts(progress, cast("dict[str, Any]", details[0]))
        found.append(progress)
    return found


def _take_counts(progress: ActivityProgress, beat: dict[str, Any]) -> None:
    done, total, note = beat.get("done"), beat.get("total"), beat.get("note")
    progress.done = done if isinstance(done, int) else None
    progress.total = total if isinstance(total, int) else None
    progress.note = note if isinstance(note, str) else ""
