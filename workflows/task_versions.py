"""Ask every replica which version it runs. A workflow, since the worker has the network and the tokens to do so."""

from datetime import timedelta

from temporalio import workflow
from temporalio.common import RetryPolicy

with workflow.unsafe.imports_passed_through():
    from activities.attest_replicas import AttestReplicas
    from taskroll.models.versions import VersionReport

ATTEST_TIMEOUT = timedelta(seconds=60)
RETRY = RetryPolicy(maximum_attempts=3)


@workflow.defn(name="TaskVersions")
class TaskVersionsWorkflow:
    @workflow.run
    async def run(self, namespace: str) -> VersionReport:
        return await workflow.execute_activity_method(
            AttestReplicas.run,
            namespace,
            start_to_close_timeout=ATTEST_TIMEOUT,
            retry_policy=RETRY,
            summary="ask each replica",
        )
