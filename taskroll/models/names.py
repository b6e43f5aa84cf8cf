"""Names that users give, and the names of objects and workflows made from them."""

from typing import Annotated

from pydantic import AfterValidator, StringConstraints

REQUEST_ID_PATTERN = r"^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$"
NAMESPACE_PATTERN = r"^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$"
RESOURCE_NAME_PATTERN = r"^[a-z0-9]([a-z0-9-]{0,98}[a-z0-9])?$"


def _one_line(text: str) -> str:
    if any(ord(char) < 32 or ord(char) == 127 for char in text):
        raise ValueError("holds a control character or a line break: write it on one line")
    return text


RequestId = Annotated[str, StringConstraints(pattern=REQUEST_ID_PATTERN)]
"""The client's own id of an update, unique in its namespace: lower-case letters, digits and dashes, at most 63."""
Namespace = Annotated[str, StringConstraints(pattern=NAMESPACE_PATTERN)]
"""A Kubernetes namespace (RFC 1123 label)."""
ResourceName = Annotated[str, StringConstraints(pattern=RESOURCE_NAME_PATTERN)]
"""The name of a definition's custom resource; at most 100 characters, so that a revision's name fits in 253."""
OneLine = Annotated[str, StringConstraints(strip_whitespace=True, max_length=500), AfterValidator(_one_line)]
"""A sentence of a person: one line, at most 500 characters."""
NonEmptyLine = Annotated[OneLine, StringConstraints(min_length=1)]
"""A sentence that cannot be left out."""
Identity = Annotated[
    str, StringConstraints(strip_whitespace=True, min_length=1, max_length=200), AfterValidator(_one_line)
]
"""Who did it, as the front that took the request knows them."""


def workflow_id(namespace: str, request_id: str) -> str:
    """The Temporal workflow id of an update: ``task-update/<namespace>/<request id>``."""
    return f"task-update/{namespace}/{request_id}"


def recovery_workflow_id(namespace: str, request_id: str) -> str:
    """The Temporal workflow id of what finishes an update whose own workflow is gone."""
    return f"task-recovery/{namespace}/{request_id}"


def reconcile_workflow_id(namespace: str) -> str:
    """The Temporal schedule of a namespace's reconciler, and the stem of its workflows' ids."""
    return f"task-reconcile/{namespace}"


def plan_name(request_id: str, number: int) -> str:
    """The ``ControllerRevision`` that stores the n-th plan of an update."""
    return f"taskroll-plan-{request_id}-{number}"


def request_name(request_id: str) -> str:
    """The ``ControllerRevision`` that stores what an update was asked to do."""
    return f"taskroll-request-{request_id}"
