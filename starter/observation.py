"""Where an update stands: asked of its workflow while Temporal has it, read from its record afterwards."""

import asyncio
import re
import time
from collections.abc import AsyncIterator, Callable
from datetime import timedelta

from temporalio.client import (
    Client,
    WorkflowExecutionDescription,
    WorkflowHandle,
    WorkflowQueryFailedError,
    WorkflowQueryRejectedError,
)
from temporalio.service import RPCError, RPCStatusCode

from taskroll.models.errors import ServiceUnavailable, TaskrollError, UnknownUpdate
from taskroll.models.names import REQUEST_ID_PATTERN, recovery_workflow_id, workflow_id
from taskroll.models.plan import PlanSummary
from taskroll.models.provenance import GitProvenance
from taskroll.models.recorded_status import status_of_record
from taskroll.models.status import UpdateStatus

from .cluster_connection import ClusterConnection
from .settings import Settings
from .temporal_connection import RPC_TIMEOUT, TemporalConnection
from .update_view import UpdateView, execution_of, progress_of, view_of_record

QUERY_TIMEOUT = timedelta(seconds=10)
"""How long a worker may take to answer; one that takes over from a killed one needs some seconds."""
UNSEEN_WORKER_TIMEOUT = timedelta(seconds=3)
"""The same where Temporal has seen no worker lately. It is not trusted blindly: it looks at one partition only."""
FIRST_INTERVAL = 0.1
LONGEST_INTERVAL = 1.0
SUSPICIOUS_ATTEMPT = 4
"""Of the workflow's own task. A worker that was killed costs one or two."""
PATIENCE = 60.0
"""Seconds that a watch goes on without an answer from Temporal or a worker: both may be restarted meanwhile."""

_CUT_OFF = ("terminated", "timed_out", "failed")
"""How a workflow may have ended before its update had."""


class Observations:
    """Looks at the updates of one namespace."""

    def __init__(self, settings: Settings, temporal: TemporalConnection, cluster: ClusterConnection) -> None:
        self._settings = settings
        self._temporal = temporal
        self._cluster = cluster
        self._provenance: dict[str, GitProvenance | None] = {}
        self._plans: dict[str, PlanSummary | None] = {}

    async def view(self, request_id: str) -> UpdateView:
        """Look at an update once.

        Raises:
            UnknownUpdate: no update of that id.
            ServiceUnavailable: neither Temporal with a worker nor a sealed record can tell.
        """
        view = await self._look(request_id)
        if view.status.git_commit:
            view.git = await self._git(request_id)
        if view.status.plan is None and view.execution != "running":
            # Neither a record nor the status of a recovery that has ended holds the plan itself.
            view.status.plan = await self._plan(request_id)
        return view

    async def _plan(self, request_id: str) -> PlanSummary | None:
        """The plan that the record names, which nothing replaces any more; asked once. None where it is not stored."""
        if request_id not in self._plans:
            try:
                stored = await self._cluster.record(request_id)
                name = stored.record.plan if stored else None
                self._plans[request_id] = await self._cluster.plan(name) if name else None
            except TaskrollError:
                return None
        return self._plans[request_id]

    async def _git(self, request_id: str) -> GitProvenance | None:
        """What the stored request says, which never changes; asked once."""
        if request_id not in self._provenance:
            try:
                request = await self._cluster.request(request_id)
            except TaskrollError:
                request = None
            self._provenance[request_id] = request.git if request else None
        return self._provenance[request_id]

    async def _look(self, request_id: str) -> UpdateView:
        if not re.fullmatch(REQUEST_ID_PATTERN, request_id):
            raise unknown_update(self._settings.namespace, request_id)
        try:
            client = await self._temporal.client()
            handle = client.get_workflow_handle(workflow_id(self._settings.namespace, request_id))
            with self._temporal.errors("look at the update"):
                description = await handle.describe(rpc_timeout=RPC_TIMEOUT)
            if execution_of(description) in _CUT_OFF and (recovered := await self._recovery(client, request_id)):
                return recovered
            return await self._view_of_workflow(client, handle, description)
        except RPCError as error:
            if error.status != RPCStatusCode.NOT_FOUND:
                raise self._temporal.unreachable(error) from error
            client = await self._temporal.client()
            return await self._recovery(client, request_id) or await self._recorded(request_id)
        except ServiceUnavailable as unavailable:
            # What has ended stands in the record, for which neither Temporal nor a worker is needed.
            sealed = await self._sealed(request_id)
            if sealed is None:
                raise
            return view_of_record(sealed, notice=f"from the record: {unavailable.message}")

    async def watch(
        self,
        request_id: str,
        *,
        patience: float = PATIENCE,
        on_silence: Callable[[str], None] = lambda reason: None,
    ) -> AsyncIterator[UpdateView]:
        """Yield a view at the start and at each change, until the update is over (`UpdateView.is_over`).

        Args:
            request_id: Which update.
            patience: Seconds without any answer after which to give up.
            on_silence: Told why, once each time Temporal or the workers stop to answer.

        Raises:
            UnknownUpdate: no update of that id.
            ServiceUnavailable: no answer for longer than `patience`. The update itself is not touched by that.
        """
        last: UpdateView | None = None
        interval = FIRST_INTERVAL
        answered = time.monotonic()
        is_silent = False
        while True:
            try:
                view = await self.view(request_id)
            except ServiceUnavailable as unavailable:
                if time.monotonic() - answered > patience:
                    raise
                if not is_silent:
                    on_silence(unavailable.message)
                is_silent = True
            else:
                answered = time.monotonic()
                is_silent = False
                if view != last:
                    interval = FIRST_INTERVAL
                    last = view
                    yield view
                if view.is_over:
                    return
            await asyncio.sleep(interval)
            interval = min(interval * 1.5, LONGEST_INTERVAL)

    async def _view_of_workflow(
        self,
        client: Client,
        handle: WorkflowHandle[object, object],
        description: WorkflowExecutionDescription,
    ) -> UpdateView:
        status = await self._ask(handle)
        execution = execution_of(description)
        if execution == "running" and status.phase == "ended":
            # It ended between the two questions; its workflow closes any moment.
            execution = (
                "completed" if status.outcome in ("completed", "no_change", "rejected", "released") else "failed"
            )
        elif execution != "running" and not status.is_settled:
            status = await self._sealed(status.request_id) or status
        return UpdateView(
            status=status,
            workflow_id=handle.id,
            execution=execution,
            progress=await progress_of(description, client.data_converter) if execution == "running" else [],
            notice=_trouble(description),
        )

    async def _recovery(self, client: Client, request_id: str) -> UpdateView | None:
        """The view of the workflow that finishes an update in place of its own, while that runs."""
        handle = client.get_workflow_handle(recovery_workflow_id(self._settings.namespace, request_id))
        try:
            with self._temporal.errors("look at the recovery"):
                description = await handle.describe(rpc_timeout=RPC_TIMEOUT)
        except RPCError as error:
            if error.status != RPCStatusCode.NOT_FOUND:
                raise
            return None
        if execution_of(description) != "running":
            return None
        return await self._view_of_workflow(client, handle, description)

    async def _ask(self, handle: WorkflowHandle[object, object]) -> UpdateStatus:
        timeout = QUERY_TIMEOUT if await self._temporal.last_poll() else UNSEEN_WORKER_TIMEOUT
        try:
            return await handle.query("status", result_type=UpdateStatus, rpc_timeout=timeout)
        except RPCError as error:
            # Temporal itself has just answered, so it is the worker that does not.
            if error.status in (RPCStatusCode.CANCELLED, RPCStatusCode.DEADLINE_EXCEEDED):
                raise await self._temporal.no_worker(timeout, "look at the update") from error
            with self._temporal.errors("look at the update"):
                raise
        except (WorkflowQueryFailedError, WorkflowQueryRejectedError) as error:
            raise ServiceUnavailable(
                f"the worker cannot answer for workflow {handle.id}: {error}; look at its log and at the workflow in "
                "Temporal's web UI"
            ) from error

    async def _sealed(self, request_id: str) -> UpdateStatus | None:
        """The record's status where the update has ended; None also where the cluster is away."""
        try:
            stored = await self._cluster.record(request_id)
        except ServiceUnavailable:
            return None
        return status_of_record(stored.record) if stored is not None and stored.sealed else None

    async def _recorded(self, request_id: str) -> UpdateView:
        stored = await self._cluster.record(request_id)
        if stored is not None:
            lost = None if stored.sealed else "Temporal does not have this update, and its record is not closed"
            return view_of_record(status_of_record(stored.record), notice=lost)
        if await self._cluster.request(request_id) is not None:
            raise UnknownUpdate(
                f"update {request_id!r} was submitted but never started: send the same request again, with "
                f"--request-id {request_id} (or Idempotency-Key: {request_id})"
            )
        raise unknown_update(self._settings.namespace, request_id)


def unknown_update(namespace: str, request_id: str) -> UnknownUpdate:
    """The error for an id under which nothing is known."""
    return UnknownUpdate(
        f"there is no update {request_id!r} in namespace {namespace!r}; see those that there are with: taskroll list "
        f"-n {namespace}"
    )


def _trouble(description: WorkflowExecutionDescription) -> str | None:
    """What keeps the workflow from going on though a worker answers: its own task fails again and again."""
    attempt = description.raw_description.pending_workflow_task.attempt
    if attempt < SUSPICIOUS_ATTEMPT:
        return None
    return (
        f"no worker gets through the workflow's own task (attempt {attempt}): its code may be broken or of another "
        "version; see the worker's log. The update goes on from here when a fixed worker runs"
    )
