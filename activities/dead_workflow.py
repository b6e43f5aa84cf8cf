"""What became of an update's workflow, as Temporal knows it at this moment."""

from dataclasses import dataclass
from datetime import timedelta

from temporalio.api.common.v1 import WorkflowExecution
from temporalio.api.workflowservice.v1 import GetWorkflowExecutionHistoryReverseRequest
from temporalio.client import Client, WorkflowExecutionStatus, WorkflowHandle
from temporalio.common import SearchAttributeKey
from temporalio.service import RPCError, RPCStatusCode

from taskroll.models.errors import ServiceUnavailable

from .step import log

RPC_TIMEOUT = timedelta(seconds=10)
PHASE = SearchAttributeKey.for_keyword("TaskrollPhase")


@dataclass(frozen=True)
class Fate:
    """What became of a workflow.

    Attributes:
        is_running: It runs; it may wait, or its worker may be away.
        has_history: Temporal has it.
        in_words: What became of it, as in «its workflow was terminated».
        phase: What its search attribute says, where it runs.
    """

    is_running: bool
    has_history: bool
    in_words: str
    phase: str = ""


async def fate_of(handle: WorkflowHandle[object, object]) -> Fate:
    """Ask Temporal, which answers this by itself and up to date.

    Raises:
        ServiceUnavailable: where it does not answer. Then nothing is known.
    """
    try:
        description = await handle.describe(rpc_timeout=RPC_TIMEOUT)
    except RPCError as error:
        # A namespace that is not there is no proof that the workflow is gone.
        if error.status == RPCStatusCode.NOT_FOUND and "amespace" not in error.message:
            return Fate(is_running=False, has_history=False, in_words="Temporal no longer has its workflow")
        raise ServiceUnavailable(f"Temporal does not say what became of {handle.id}: {error.message}") from error
    if description.status in (None, WorkflowExecutionStatus.RUNNING):
        phase = description.typed_search_attributes.get(PHASE) or ""
        return Fate(is_running=True, has_history=True, in_words="its workflow runs", phase=phase)
    if description.status == WorkflowExecutionStatus.TERMINATED:
        return Fate(is_running=False, has_history=True, in_words="its workflow was terminated")
    ended = description.status.name.lower().replace("_", " ")
    return Fate(is_running=False, has_history=True, in_words=f"its workflow {ended} before the update had ended")


async def list_workflows(client: Client, query: str) -> list[tuple[str, str]]:
    """Workflow id and request id of those that match, as far as Temporal's list is up to date; none where it fails."""
    try:
        return [
            (found.id, found.id.rpartition("/")[2])
            async for found in client.list_workflows(query, rpc_timeout=RPC_TIMEOUT)
        ]
    except RPCError as error:
        log.warning("workflows could not be listed", error=error.message)
        return []


async def reason_of_termination(client: Client, workflow_id: str) -> str:
    """Who terminated a workflow, and why, as far as Temporal's last event of it says; empty where it does not."""
    request = GetWorkflowExecutionHistoryReverseRequest(
        namespace=client.namespace, execution=WorkflowExecution(workflow_id=workflow_id), maximum_page_size=1
    )
    try:
        answer = await client.workflow_service.get_workflow_execution_history_reverse(request, timeout=RPC_TIMEOUT)
    except RPCError:
        return ""
    for event in answer.history.events:
        if event.HasField("workflow_execution_terminated_event_attributes"):
            said = event.workflow_execution_terminated_event_attributes
            who = f" by {said.identity}" if said.identity else ""
            return f"{who}: {said.reason}" if said.reason else who
    return ""
