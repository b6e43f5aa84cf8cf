"""Temporal: whether it answers, knows the namespace and taskroll's search attributes."""

from temporalio.api.enums.v1 import IndexedValueType
from temporalio.api.operatorservice.v1 import ListSearchAttributesRequest
from temporalio.api.workflowservice.v1 import DescribeNamespaceRequest
from temporalio.common import SearchAttributeIndexedValueType
from temporalio.service import RPCError, RPCStatusCode

from starter.temporal_connection import RPC_TIMEOUT
from taskroll.models.errors import InvalidRequest, ServiceUnavailable, TaskrollError
from workflows.search_attributes import ALL

from .findings import Finding, Remedy, ok
from .place import Place

_TYPES = {
    SearchAttributeIndexedValueType.KEYWORD: ("Keyword", IndexedValueType.INDEXED_VALUE_TYPE_KEYWORD),
    SearchAttributeIndexedValueType.KEYWORD_LIST: ("KeywordList", IndexedValueType.INDEXED_VALUE_TYPE_KEYWORD_LIST),
}


async def check_temporal(place: Place) -> list[Finding]:
    """Whether it answers and has the namespace; where it does, all that depends on that."""
    connection = place.temporal
    try:
        client = await connection.client()
        with connection.errors("look at the namespace"):
            await client.workflow_service.describe_namespace(
                DescribeNamespaceRequest(namespace=client.namespace), timeout=RPC_TIMEOUT
            )
    except (ServiceUnavailable, InvalidRequest) as error:
        return [Finding(check="temporal", state="problem", message=error.message, remedies=_namespace(place, error))]
    answers = ok("temporal", f"{connection.address} answers, namespace {client.namespace!r}")
    return [answers, await _search_attributes(place)]


def _namespace(place: Place, error: TaskrollError) -> list[Remedy]:
    """The command that makes the namespace, where it is what Temporal lacks."""
    cause = error.__cause__
    if not isinstance(cause, RPCError) or cause.status != RPCStatusCode.NOT_FOUND:
        return []
    where = f"--address {place.temporal.address} --namespace {place.temporal.namespace}"
    return [Remedy(purpose="make the namespace", command=f"temporal operator namespace create {where}")]


async def _search_attributes(place: Place) -> Finding:
    client = await place.temporal.client()
    try:
        with place.temporal.errors("look at the search attributes"):
            answer = await client.operator_service.list_search_attributes(
                ListSearchAttributesRequest(namespace=client.namespace), timeout=RPC_TIMEOUT
            )
    except RPCError as error:
        # Temporal Cloud keeps them behind its console.
        return Finding(check="search-attributes", state="skipped", message=f"Temporal does not say: {error.message}")
    known = answer.custom_attributes
    missing = [key for key in ALL if key.name not in known]
    if missing:
        named = " ".join(f"--name {key.name} --type {_TYPES[key.indexed_value_type][0]}" for key in missing)
        command = (
            f"temporal operator search-attribute create --address {place.temporal.address} "
            f"--namespace {client.namespace} {named}"
        )
        return Finding(
            check="search-attributes",
            state="problem",
            message="Temporal lacks search attributes of taskroll, and starts no update without them",
            details=[key.name for key in missing],
            remedies=[Remedy(purpose="register them", command=command)],
        )
    other = [key.name for key in ALL if known[key.name] != _TYPES[key.indexed_value_type][1]]
    if other:
        message = "search attributes of taskroll's names have another type; use a Temporal namespace of its own"
        return Finding(check="search-attributes", state="problem", message=message, details=other)
    return ok("search-attributes", f"all {len(ALL)} are registered")
