"""What people tell a running update: approve, reject, abort, resume."""

import re
from datetime import timedelta

from temporalio.client import (
    WorkflowHandle,
    WorkflowUpdateFailedError,
    WorkflowUpdateRPCTimeoutOrCancelledError,
)
from temporalio.exceptions import ApplicationError
from temporalio.service import RPCError, RPCStatusCode

from taskroll.models.decision import AbortInput, DecisionInput, ReleaseInput, ResumeInput
from taskroll.models.errors import InvalidRequest, ServiceUnavailable, TaskrollError, WrongPhase
from taskroll.models.names import REQUEST_ID_PATTERN, recovery_workflow_id, workflow_id
from taskroll.models.status import Decision

from .observation import Observations, unknown_update
from .reconciliation import reconcile_now
from .settings import Settings
from .temporal_connection import RPC_TIMEOUT, TemporalConnection
from .update_view import UpdateView

DECISION_TIMEOUT = timedelta(seconds=15)
"""How long the workflow may take to answer whether a decision was taken."""


class Decisions:
    """Speaks to the updates of one namespace."""

    def __init__(self, settings: Settings, temporal: TemporalConnection, observations: Observations) -> None:
        self._settings = settings
        self._temporal = temporal
        self._observations = observations

    async def decide(self, request_id: str, wish: DecisionInput) -> Decision:
        """Approve or reject, and learn whether it counted.

        Raises:
            WrongPhase: the update does not wait for a decision, or not on that plan.
            UnknownUpdate: no update of that id.
            ServiceUnavailable: no answer; whether the decision counted is not known then.
        """
        handle = await self._handle(request_id)
        try:
            with self._temporal.errors("send the decision"):
                return await handle.execute_update(  # pyright: ignore[reportUnknownMemberType] - a gap in the SDK
                    "decide", wish, result_type=Decision, rpc_timeout=DECISION_TIMEOUT
                )
        except WorkflowUpdateFailedError as error:
            raise _refusal(error.cause) from error
        except WorkflowUpdateRPCTimeoutOrCancelledError as error:
            raise await self._temporal.no_worker(DECISION_TIMEOUT, "learn whether the decision was taken") from error
        except RPCError as error:
            raise await self._closed_or_unknown(request_id, wish.decision, error) from error

    async def abort(self, request_id: str, wish: AbortInput) -> None:
        """Ask the update to stop and take back what it did. Returns when Temporal has noted it, not when it is done.

        Raises:
            WrongPhase: the update has ended.
            UnknownUpdate: no update of that id.
            ServiceUnavailable: Temporal is away.
        """
        await self._signal(request_id, "abort", wish)

    async def resume(self, request_id: str, wish: ResumeInput) -> None:
        """Let an update that is parked as «needs operator» try again; have one finished whose workflow is gone.

        Raises:
            WrongPhase: the update goes on by itself, or has ended.
            UnknownUpdate: no update of that id.
            ServiceUnavailable: Temporal is away, or no worker tells where the update stands.
        """
        view = await self._observations.view(request_id)
        if _is_parked(view):
            await self._signal(request_id, "resume", wish, workflow=view.workflow_id)
        elif not await self._finish(view):
            raise WrongPhase(
                f"update {request_id!r} is not parked for an operator, it is "
                f"{view.status.outcome or view.status.phase}: there is nothing to resume"
            )

    async def release_fence(self, request_id: str, wish: ReleaseInput) -> None:
        """Take the fence of an update down and close its record, with nothing taken back. For one that is parked, or
        whose workflow is gone.

        Raises:
            WrongPhase: the update goes on by itself, or has ended.
            UnknownUpdate: no update of that id.
            ServiceUnavailable: Temporal is away, or no worker answers.
        """
        view = await self._observations.view(request_id)
        if _is_parked(view):
            client = await self._temporal.client()
            handle = client.get_workflow_handle(view.workflow_id)
            try:
                with self._temporal.errors("release the fence"):
                    await handle.execute_update(  # pyright: ignore[reportUnknownMemberType] - a gap in the SDK
                        "release_fence", wish, rpc_timeout=DECISION_TIMEOUT
                    )
            except WorkflowUpdateFailedError as error:
                raise _refusal(error.cause) from error
            except WorkflowUpdateRPCTimeoutOrCancelledError as error:
                raise await self._temporal.no_worker(DECISION_TIMEOUT, "learn whether the fence came down") from error
            except RPCError as error:
                raise await self._closed_or_unknown(request_id, "release-fence", error) from error
        elif not await self._finish(view, wish):
            if view.is_over:
                raise WrongPhase(
                    f"update {request_id!r} has ended ({view.status.outcome}), and holds no fence; where doctor finds "
                    "one that was left: taskroll reconcile"
                )
            if _is_recovery(view):
                raise WrongPhase(f"{_by_recovery(view)}, and its fence comes down then; {_see_recovery(view)}")
            raise WrongPhase(
                f"update {request_id!r} is {view.status.outcome or view.status.phase}: its fence comes down when it "
                f"ends; to stop it: taskroll abort {request_id}"
            )

    async def _finish(self, view: UpdateView, release: ReleaseInput | None = None) -> bool:
        """Have a recovery finish an update whose workflow is gone; False where there is nothing to finish."""
        if view.status.phase == "ended" or view.execution == "running":
            return False
        report = await reconcile_now(self._settings, self._temporal, only=view.status.request_id, release=release)
        return bool(report.recovering)

    async def _signal(
        self, request_id: str, name: str, wish: AbortInput | ResumeInput, workflow: str | None = None
    ) -> None:
        handle = await self._handle(request_id, workflow)
        try:
            with self._temporal.errors(f"send {name}"):
                await handle.signal(name, wish, rpc_timeout=RPC_TIMEOUT)
        except RPCError as error:
            raise await self._closed_or_unknown(request_id, name, error) from error

    async def _handle(self, request_id: str, workflow: str | None = None) -> WorkflowHandle[object, object]:
        if not re.fullmatch(REQUEST_ID_PATTERN, request_id):
            raise unknown_update(self._settings.namespace, request_id)
        client = await self._temporal.client()
        return client.get_workflow_handle(workflow or workflow_id(self._settings.namespace, request_id))

    async def _closed_or_unknown(self, request_id: str, what: str, error: RPCError) -> TaskrollError:
        if error.status != RPCStatusCode.NOT_FOUND:
            return ServiceUnavailable(f"Temporal did not take it: {error.message}")
        view = await self._observations.view(request_id)
        status = view.status
        if view.is_orphaned:
            how = "gone" if view.execution == "recorded" else view.execution
            return WrongPhase(
                f"the workflow of update {request_id!r} is {how}: {what!r} reaches nobody. The reconciler of a running "
                f"worker takes the update back or completes it; to have that done now: taskroll resume {request_id}"
            )
        if _is_recovery(view) and _is_parked(view):
            return WrongPhase(
                f"update {request_id!r} waits for an operator in its recovery {view.workflow_id}, which does not take "
                f"{what!r}: {status.message}. Try again: taskroll resume {request_id}; leave all as it is: taskroll "
                f"release-fence {request_id} --reason 'WHY'"
            )
        if _is_recovery(view):
            return WrongPhase(f"{_by_recovery(view)}, which does not take {what!r}; {_see_recovery(view)}")
        return WrongPhase(
            f"update {request_id!r} has ended ({status.outcome or status.phase}): {what!r} comes too late; "
            f"see: taskroll status {request_id}"
        )


def _is_parked(view: UpdateView) -> bool:
    """Whether a workflow, its own or a recovery, waits for an operator's word."""
    return view.status.outcome == "needs_operator" and view.execution == "running"


def _is_recovery(view: UpdateView) -> bool:
    """Whether the update has not ended and a recovery acts for it: its own workflow is closed by then."""
    status = view.status
    recovery = recovery_workflow_id(status.namespace, status.request_id)
    return view.execution == "running" and view.workflow_id == recovery


def _by_recovery(view: UpdateView) -> str:
    status = view.status
    return f"update {status.request_id!r} is {status.phase}: the reconciler's recovery {view.workflow_id} finishes it"


def _see_recovery(view: UpdateView) -> str:
    return f"it cannot be stopped; watch it: taskroll watch {view.status.request_id}"


def _refusal(cause: BaseException) -> TaskrollError:
    """The workflow's own words, under its own code."""
    message = cause.message if isinstance(cause, ApplicationError) else str(cause)
    if isinstance(cause, ApplicationError) and cause.type == InvalidRequest.code:
        return InvalidRequest(message)
    return WrongPhase(message)
