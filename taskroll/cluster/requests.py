"""Submitted requests: what makes a request id mean one update and no other."""

from __future__ import annotations

from typing import Literal

from pydantic import ValidationError

from taskroll.models.errors import RequestConflict, TamperedState, UnknownUpdate
from taskroll.models.names import request_name
from taskroll.models.request import SubmittedRequest

from .connection import Cluster
from .documents import DocumentConflict, read_document, write_document
from .errors import NotFound


async def submit_request(cluster: Cluster, request: SubmittedRequest) -> Literal["new", "known"]:
    """Store the request under its id, in its namespace; ``known`` where the same one is stored.

    The same means the same digest: who asks, and why, may differ; the first one's words stay.

    Raises:
        RequestConflict: where the id is taken by a request of another digest.
    """
    try:
        written = await write_document(
            cluster,
            request.namespace,
            type="request",
            name=request_name(request.request_id),
            data=request.model_dump(mode="json"),
            request_id=request.request_id,
        )
    except DocumentConflict as conflict:
        known = _request(conflict.known.data, request.request_id)
        if known.digest() != request.digest():
            raise RequestConflict(request.request_id, known.digest(), request.digest()) from conflict
        return "known"
    return "new" if written else "known"


async def read_request(cluster: Cluster, namespace: str, request_id: str) -> SubmittedRequest:
    """Read what an update was asked to do.

    Raises:
        UnknownUpdate: where no request of that id was submitted in the namespace.
    """
    try:
        document = await read_document(cluster, namespace, request_name(request_id), type="request")
    except NotFound as error:
        raise UnknownUpdate(f"no request {request_id!r} in namespace {namespace!r}") from error
    return _request(document.data, request_id)


def _request(data: object, request_id: str) -> SubmittedRequest:
    try:
        return SubmittedRequest.model_validate(data)
    except ValidationError as error:
        raise TamperedState(f"ControllerRevision/{request_name(request_id)} holds no request: {error}") from error
