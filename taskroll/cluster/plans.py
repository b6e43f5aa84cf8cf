"""Plans, stored whole: a workflow's history only holds their summaries."""

from __future__ import annotations

from pydantic import ValidationError

from taskroll.models.errors import TamperedState
from taskroll.models.names import plan_name
from taskroll.models.plan import Plan

from .connection import Cluster
from .documents import DocumentConflict, list_documents, read_document, write_document


async def write_plan(cluster: Cluster, namespace: str, plan: Plan) -> Plan:
    """Store the plan; return the one that is stored under its request id and number.

    That is another one where an earlier attempt of the same step stored its plan and its answer was lost: the live
    state may have moved meanwhile, and one plan has to stand for the number.
    """
    try:
        await write_document(
            cluster,
            namespace,
            type="plan",
            name=plan_name(plan.request_id, plan.number),
            data=plan.model_dump(mode="json"),
            request_id=plan.request_id,
            revision=plan.number,
        )
    except DocumentConflict as conflict:
        return _plan(conflict.known.data, conflict.known.name)
    return plan


async def read_plan(cluster: Cluster, namespace: str, name: str) -> Plan:
    """Read a plan by the name of its object.

    Raises:
        NotFound: where there is none.
    """
    document = await read_document(cluster, namespace, name, type="plan")
    return _plan(document.data, name)


async def find_last_plan(cluster: Cluster, namespace: str, request_id: str) -> Plan | None:
    """The plan of an update with the highest number; None where it never made one."""
    documents = await list_documents(cluster, namespace, type="plan", request_id=request_id)
    plans = [_plan(document.data, document.name) for document in documents]
    return max(plans, key=lambda plan: plan.number, default=None)


def _plan(data: object, name: str) -> Plan:
    try:
        return Plan.model_validate(data)
    except ValidationError as error:
        raise TamperedState(f"ControllerRevision/{name} holds no plan: {error}") from error
