"""All updates of a namespace: those on record, and those that only Temporal knows yet."""

import base64
import json
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import cast, get_args

from pydantic import BaseModel, ConfigDict
from temporalio.client import WorkflowExecution, WorkflowExecutionDescription
from temporalio.service import RPCError, RPCStatusCode

from taskroll.cluster.bounded import run_bounded
from taskroll.models.errors import InvalidRequest, ServiceUnavailable
from taskroll.models.names import recovery_workflow_id
from taskroll.models.record import UpdateRecord
from taskroll.models.status import Outcome, Phase
from workflows.search_attributes import COMMIT, PHASE, REQUESTED_BY

from .cluster_connection import ClusterConnection
from .settings import Settings
from .temporal_connection import RPC_TIMEOUT, TemporalConnection
from .update_view import Execution, execution_of

MAX_LIMIT = 500


class UpdateLine(BaseModel):
    """One update in a list."""

    model_config = ConfigDict(extra="forbid")

    request_id: str
    workflow_id: str
    phase: Phase
    step: str | None = None
    """The step that runs."""
    outcome: Outcome | None = None
    execution: Execution | None = None
    """State of the workflow that acts for it; None where Temporal could not be asked."""
    origin: str = "update"
    requested_by: str
    reason: str = ""
    git_commit: str | None = None
    git_dirty: bool | None = None
    epoch: int | None = None
    """Release that it left in place."""
    changes: int | None = None
    """Definitions that it changes; None before its plan."""
    started_at: datetime
    ended_at: datetime | None = None
    message: str = ""

    @property
    def is_orphaned(self) -> bool:
        """True where the update has not ended and nothing acts for it: its workflow was terminated, say."""
        return self.ended_at is None and self.execution not in (None, "running")


class UpdatePage(BaseModel):
    """A part of the list, the latest first."""

    model_config = ConfigDict(extra="forbid")

    updates: list[UpdateLine]
    next_cursor: str | None = None
    """What the next page starts after; None where this is the last one."""
    notice: str | None = None
    """Why the list may lack the updates of the last moments."""


class UpdateLists:
    """Lists the updates of one namespace."""

    def __init__(self, settings: Settings, temporal: TemporalConnection, cluster: ClusterConnection) -> None:
        self._settings = settings
        self._temporal = temporal
        self._cluster = cluster

    async def page(self, limit: int = 50, cursor: str | None = None) -> UpdatePage:
        """One page of the list, and of the records no more than are on it.

        The order is that in which the records were opened, to the second; within one second that of the names. The
        records are the truth on what has ended. Temporal says where the others are, and adds what has just begun and
        has no record yet; where it is away, `notice` says so.

        Args:
            limit: 1 to 500.
            cursor: `next_cursor` of the page before.

        Raises:
            InvalidRequest: a limit or cursor that is none.
            ServiceUnavailable: the cluster is away.
        """
        if not 1 <= limit <= MAX_LIMIT:
            raise InvalidRequest(f"limit: {limit} is not between 1 and {MAX_LIMIT}")
        after = _read_cursor(cursor) if cursor else None
        positions = await self._cluster.record_names()
        known = {request_id for _, request_id in positions}
        begun: dict[str, UpdateLine] = {}
        notice = None
        try:
            begun = {line.request_id: line for line in await self._begun() if line.request_id not in known}
        except ServiceUnavailable as unavailable:
            notice = f"by the records alone, without the updates that have none yet: {unavailable.message}"
        positions += [(line.started_at.replace(microsecond=0), line.request_id) for line in begun.values()]
        left = [position for position in sorted(positions, reverse=True) if after is None or position < after]
        page = left[:limit]
        recorded = await self._cluster.records([request_id for _, request_id in page if request_id not in begun])
        lines = begun | {stored.record.request_id: _of_record(stored.record) for stored in recorded}
        if notice is None:
            try:
                opened = [stored.record.request_id for stored in recorded if not stored.sealed]
                lines |= await self._acted_for([lines[request_id] for request_id in opened])
            except ServiceUnavailable as unavailable:
                notice = f"by the records alone: {unavailable.message}"
        return UpdatePage(
            # One that was deleted since the names were read is in none of them.
            updates=[lines[request_id] for _, request_id in page if request_id in lines],
            next_cursor=_write_cursor(page[-1]) if len(left) > limit else None,
            notice=notice,
        )

    async def _begun(self) -> list[UpdateLine]:
        client = await self._temporal.client()
        prefix = f"task-update/{self._settings.namespace}/"
        found: list[UpdateLine] = []
        query = (
            f"WorkflowType = 'TaskUpdate' AND ExecutionStatus = 'Running' "
            f"AND TaskrollNamespace = '{self._settings.namespace}'"
        )
        try:
            with self._temporal.errors("list running updates"):
                async for execution in client.list_workflows(query, limit=MAX_LIMIT):
                    attributes = execution.typed_search_attributes
                    found.append(
                        UpdateLine(
                            request_id=execution.id.removeprefix(prefix),
                            workflow_id=execution.id,
                            phase=_phase_of(execution) or "planning",
                            execution="running",
                            requested_by=attributes.get(REQUESTED_BY) or "",
                            git_commit=attributes.get(COMMIT),
                            started_at=execution.start_time,
                        )
                    )
        except RPCError as error:
            raise ServiceUnavailable(f"Temporal cannot list updates: {error.message}") from error
        return found

    async def _acted_for(self, lines: Sequence[UpdateLine]) -> dict[str, UpdateLine]:
        """Lines of open records, with what Temporal knows of their workflows at this moment."""
        found = await run_bounded(lines, self._with_workflow)
        return {line.request_id: line for line in found}

    async def _with_workflow(self, line: UpdateLine) -> UpdateLine:
        own = acting = await self._describe(line.workflow_id)
        if own is None or execution_of(own) != "running":
            acting = await self._describe(recovery_workflow_id(self._settings.namespace, line.request_id))
        if acting is not None and execution_of(acting) == "running" and (phase := _phase_of(acting)):
            pending = acting.raw_description.pending_activities
            return line.model_copy(
                update={
                    "phase": phase,
                    "step": pending[0].activity_type.name if pending else None,
                    "outcome": line.outcome if phase == "needs-operator" else None,
                    "execution": "running",
                }
            )
        # It may have ended since its record was read.
        for stored in await self._cluster.records([line.request_id]):
            if stored.sealed:
                return _of_record(stored.record)
        return line.model_copy(update={"step": None, "execution": execution_of(own) if own else "recorded"})

    async def _describe(self, workflow_id: str) -> WorkflowExecutionDescription | None:
        client = await self._temporal.client()
        try:
            with self._temporal.errors("look at the updates that run"):
                return await client.get_workflow_handle(workflow_id).describe(rpc_timeout=RPC_TIMEOUT)
        except RPCError as error:
            if error.status == RPCStatusCode.NOT_FOUND:
                return None
            raise ServiceUnavailable(f"Temporal does not say what became of {workflow_id}: {error.message}") from error


def _phase_of(execution: WorkflowExecution) -> Phase | None:
    """By its search attribute; None where there is none, or where that is an outcome: the update has ended."""
    phase = execution.typed_search_attributes.get(PHASE)
    return cast(Phase, phase) if phase in get_args(Phase) else None


def _of_record(record: UpdateRecord) -> UpdateLine:
    return UpdateLine(
        request_id=record.request_id,
        workflow_id=record.workflow_id,
        phase=record.phase,
        step=record.step,
        outcome=record.outcome,
        execution="recorded" if record.ended_at else None,
        origin=record.origin,
        requested_by=record.requested_by,
        reason=record.reason,
        git_commit=record.git_commit,
        git_dirty=record.git_dirty,
        epoch=record.epoch,
        changes=len(record.changes),
        started_at=record.started_at,
        ended_at=record.ended_at,
        message=record.message,
    )


def _write_cursor(position: tuple[datetime, str]) -> str:
    opened_at, request_id = position
    return base64.urlsafe_b64encode(json.dumps([opened_at.isoformat(), request_id]).encode()).decode().rstrip("=")


def _read_cursor(cursor: str) -> tuple[datetime, str]:
    try:
        opened_at, request_id = json.loads(base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)))
        return datetime.fromisoformat(opened_at).astimezone(UTC), str(request_id)
    except (ValueError, TypeError) as error:
        raise InvalidRequest(f"cursor: {cursor[:80]!r} is none that a page gave; start again without it") from error
