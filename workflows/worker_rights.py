"""Ask a worker which of its rights it lacks. A workflow, since only the worker has the worker's credentials."""

from datetime import timedelta

from temporalio import workflow
from temporalio.common import RetryPolicy

with workflow.unsafe.imports_passed_through():
    from activities.worker_rights import WorkerRights

TIMEOUT = timedelta(seconds=30)
RETRY = RetryPolicy(maximum_attempts=3)


@workflow.defn(name="WorkerRights")
class WorkerRightsWorkflow:
    @workflow.run
    async def run(self, namespace: str) -> list[str]:
        return await workflow.execute_activity_method(
            WorkerRights.run,
            namespace,
            start_to_close_timeout=TIMEOUT,
            retry_policy=RETRY,
            summary="ask the API server",
        )
