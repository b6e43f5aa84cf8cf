"""A round of the reconciler now, for all updates or for one: what the schedule does by itself a little later."""

import uuid
from datetime import timedelta

from temporalio.client import WorkflowFailureError
from temporalio.exceptions import TimeoutError as TemporalTimeout
from temporalio.service import RPCError

from taskroll.models.decision import ReleaseInput
from taskroll.models.errors import ServiceUnavailable
from taskroll.models.names import reconcile_workflow_id
from taskroll.models.recovery import ReconcileInput, ReconcileReport

from .settings import Settings
from .temporal_connection import RPC_TIMEOUT, TemporalConnection

ROUND_TIMEOUT = timedelta(seconds=60)
"""Until a worker has looked at all that is under way."""


async def reconcile_now(
    settings: Settings,
    temporal: TemporalConnection,
    *,
    only: str | None = None,
    release: ReleaseInput | None = None,
) -> ReconcileReport:
    """Have updates finished whose workflow is gone; live ones are left alone.

    Args:
        only: Request id of the one update to look at.
        release: With `only`: take its fence down instead, and leave what it did as it is.

    Raises:
        ServiceUnavailable: Temporal is away, no worker takes it up, or the worker cannot look.
    """
    client = await temporal.client()
    try:
        with temporal.errors("reconcile"):
            handle = await client.start_workflow(
                "TaskReconcile",
                ReconcileInput(namespace=settings.namespace, only=only, release=release),
                id=f"{reconcile_workflow_id(settings.namespace)}/{uuid.uuid4().hex[:12]}",
                task_queue=settings.task_queue,
                result_type=ReconcileReport,
                execution_timeout=ROUND_TIMEOUT,
                static_summary=f"looks whether the workflow of {only} is gone"
                if only
                else "a round, asked for by hand",
                rpc_timeout=RPC_TIMEOUT,
            )
            return await handle.result(rpc_timeout=ROUND_TIMEOUT + RPC_TIMEOUT)
    except WorkflowFailureError as error:
        if isinstance(error.cause, TemporalTimeout):
            raise await temporal.no_worker(ROUND_TIMEOUT, "reconcile") from error
        cause = error.cause.__cause__ or error.cause
        raise ServiceUnavailable(f"the round came to no end: {cause}; see the worker's log") from error
    except RPCError as error:
        raise await temporal.no_worker(ROUND_TIMEOUT, "reconcile") from error
