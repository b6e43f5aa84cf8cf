"""Which version each replica really runs: asked of a worker, which has the network and the tokens to ask."""

import uuid
from datetime import timedelta

from temporalio.client import WorkflowFailureError
from temporalio.exceptions import ApplicationError
from temporalio.service import RPCError, RPCStatusCode

from taskroll.models.errors import ServiceUnavailable
from taskroll.models.versions import VersionReport

from .settings import Settings
from .temporal_connection import RPC_TIMEOUT, TemporalConnection

REPORT_TIMEOUT = timedelta(seconds=90)
"""For all replicas: the worker gives up on one that does not answer long before."""
PICKUP_TIMEOUT = timedelta(seconds=10)
"""Until a worker has taken the question up."""


async def ask_versions(settings: Settings, temporal: TemporalConnection) -> VersionReport:
    """Ask every replica of every service.

    Raises:
        ServiceUnavailable: Temporal is away, no worker takes the question, or the worker cannot tell.
    """
    client = await temporal.client()
    try:
        with temporal.errors("ask for the versions"):
            handle = await client.start_workflow(
                "TaskVersions",
                settings.namespace,
                id=f"task-versions/{settings.namespace}/{uuid.uuid4().hex[:12]}",
                task_queue=settings.task_queue,
                result_type=VersionReport,
                # A question that nobody took up must not be answered tomorrow: unlike an update it may time out.
                execution_timeout=REPORT_TIMEOUT,
                static_summary="which version each replica runs",
                rpc_timeout=RPC_TIMEOUT,
            )
        seen = await temporal.last_poll()
        return await handle.result(rpc_timeout=REPORT_TIMEOUT if seen else PICKUP_TIMEOUT)
    except WorkflowFailureError as error:
        raise ServiceUnavailable(f"the versions could not be read: {_said(error)}") from error
    except RPCError as error:
        if error.status in (RPCStatusCode.CANCELLED, RPCStatusCode.DEADLINE_EXCEEDED):
            raise await temporal.no_worker(PICKUP_TIMEOUT, "read the versions") from error
        raise ServiceUnavailable(f"the versions could not be read: {error.message}") from error


def _said(error: WorkflowFailureError) -> str:
    cause: BaseException = error.cause
    while cause.__cause__ is not None:
        cause = cause.__cause__
    return cause.message if isinstance(cause, ApplicationError) else str(cause)
