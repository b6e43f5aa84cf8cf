"""What only a worker can tell: which version each replica runs, since it has the network and the tokens to ask; and
which rights it lacks."""

import asyncio
import uuid
from datetime import timedelta
from typing import Any, TypeVar

from temporalio.api.enums.v1 import EventType
from temporalio.client import WorkflowFailureError, WorkflowHandle
from temporalio.exceptions import ApplicationError
from temporalio.service import RPCError

from taskroll.models.errors import ServiceUnavailable
from taskroll.models.versions import VersionReport

from .settings import Settings
from .temporal_connection import RPC_TIMEOUT, TemporalConnection

Answer = TypeVar("Answer")

REPORT_TIMEOUT = timedelta(seconds=90)
"""For all replicas: the worker gives up on one that does not answer long before."""
PICKUP_TIMEOUT = timedelta(seconds=10)
"""Until a worker has taken the question up."""
UNSEEN_WORKER_TIMEOUT = timedelta(seconds=3)
"""The same where Temporal has seen no worker lately."""


async def ask_versions(settings: Settings, temporal: TemporalConnection) -> VersionReport:
    """Ask every replica of every service.

    Raises:
        ServiceUnavailable: Temporal is away, or the worker cannot tell; `NoWorker` where none answers.
    """
    return await _ask(settings, temporal, "TaskVersions", VersionReport, "versions")


async def ask_rights(settings: Settings, temporal: TemporalConnection) -> list[str]:
    """What of the role ``taskroll-worker`` the worker that answers does not have. Raises as `ask_versions`."""
    return await _ask(settings, temporal, "WorkerRights", list[str], "rights of a worker")


async def _ask(
    settings: Settings, temporal: TemporalConnection, workflow: str, answer_type: type[Answer], what: str
) -> Answer:
    client = await temporal.client()
    try:
        with temporal.errors(f"ask for the {what}"):
            handle = await client.start_workflow(
                workflow,
                settings.namespace,
                id=f"{what.replace(' ', '-')}/{settings.namespace}/{uuid.uuid4().hex[:12]}",
                task_queue=settings.task_queue,
                result_type=answer_type,
                # A question that nobody took up must not be answered tomorrow: unlike an update it may time out.
                execution_timeout=REPORT_TIMEOUT,
                static_summary=what,
                rpc_timeout=RPC_TIMEOUT,
            )
        answer = asyncio.ensure_future(handle.result())
        try:
            pickup = PICKUP_TIMEOUT if await temporal.last_poll() else UNSEEN_WORKER_TIMEOUT
            await asyncio.wait([answer], timeout=pickup.total_seconds())
            if not answer.done() and not await _is_taken_up(handle):
                raise await temporal.no_worker(pickup, f"read the {what}")
            # Its own execution time-out ends it: no worker could answer for longer.
            return await answer
        finally:
            answer.cancel()
    except WorkflowFailureError as error:
        raise ServiceUnavailable(f"the {what} could not be read: {_said(error)}") from error
    except RPCError as error:
        raise ServiceUnavailable(f"the {what} could not be read: {error.message}") from error


async def _is_taken_up(handle: WorkflowHandle[Any, Any]) -> bool:
    """Whether a worker has worked on it. One that died may have been handed its first task all the same."""
    async for event in handle.fetch_history_events():
        if event.event_type == EventType.EVENT_TYPE_WORKFLOW_TASK_COMPLETED:
            return True
    return False


def _said(error: WorkflowFailureError) -> str:
    cause: BaseException = error.cause
    while cause.__cause__ is not None:
        cause = cause.__cause__
    return cause.message if isinstance(cause, ApplicationError) else str(cause)
