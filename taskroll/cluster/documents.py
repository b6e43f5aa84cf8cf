"""Immutable documents: JSON in ``ControllerRevision`` objects, whose ``data`` the API server lets nobody change.

The revision of a definition, a release, a plan, a request; the source of an app, and what was done to one. Written
once under a name that says what is in it, so that writing it again is no second effect.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from taskroll.models.errors import TamperedState
from taskroll_agent.contracts import canonical_json, sha256_digest

from .connection import Cluster
from .errors import AlreadyExists, NotFound
from .objects import KubeObject, create_object, list_objects, read_object
from .rereading import rereading
from .resources import CONTROLLER_REVISION, field_manager
from .transport import Call

DocumentType = Literal["definition", "release", "plan", "request", "app-source", "app-event"]

TYPE_LABEL = "taskroll.dev/type"
REQUEST_LABEL = "taskroll.dev/request"
"""The update that wrote the document first."""


class DocumentConflict(TamperedState):
    """A document of that name is there and says something else.

    Attributes:
        known: The document that is there.
    """

    def __init__(self, known: Document, sent: Any) -> None:
        super().__init__(
            f"ControllerRevision/{known.name} is there with other content: "
            f"{sha256_digest(known.data)}, the one to write has {sha256_digest(sent)}"
        )
        self.known = known


@dataclass(frozen=True)
class Document:
    """One document as it was read.

    Attributes:
        type: Which of them.
        name: Of the object.
        request_id: The update that wrote it first.
        data: The JSON.
        created_at: When it was stored, by the API server's clock (RFC 3339, whole seconds).
    """

    type: str
    name: str
    request_id: str
    data: Any
    created_at: str = ""


async def write_document(
    cluster: Cluster,
    namespace: str,
    *,
    type: DocumentType,
    name: str,
    data: dict[str, Any],
    request_id: str,
    revision: int = 1,
) -> bool:
    """Write it; return False where the same document is there already.

    `revision` is the object's own number field, which ``kubectl get controllerrevisions`` shows: the epoch of a
    release.

    Raises:
        DocumentConflict: where another document has the name.
        ClusterError: `TooLarge` over 1.5 MiB.
    """
    body = {
        "metadata": {"name": name, "labels": {TYPE_LABEL: type, REQUEST_LABEL: request_id}},
        "data": data,
        "revision": revision,
    }

    async def attempt() -> bool:
        try:
            await create_object(cluster, CONTROLLER_REVISION, namespace, body, manager=field_manager(request_id))
        except AlreadyExists:
            # Vanished between the two calls: NotFound makes `rereading` begin again.
            known = _document(await read_object(cluster, CONTROLLER_REVISION, namespace, name))
            if known.type != type or canonical_json(known.data) != canonical_json(data):
                raise DocumentConflict(known, data) from None
            return False
        return True

    return await rereading(attempt, attempts=3)


async def read_document(cluster: Cluster, namespace: str, name: str, *, type: DocumentType) -> Document:
    """Read one.

    Raises:
        NotFound: where there is none of that name and type.
    """
    document = _document(await read_object(cluster, CONTROLLER_REVISION, namespace, name))
    if document.type != type:
        call = Call("read", "", CONTROLLER_REVISION.kind, name)
        raise NotFound(call, f"it is a {document.type or 'foreign object'}, not a {type}")
    return document


async def list_documents(
    cluster: Cluster, namespace: str, *, type: DocumentType, request_id: str | None = None
) -> list[Document]:
    """All documents of a type, of one update where `request_id` is given, in no particular order."""
    labels = {TYPE_LABEL: str(type)}
    if request_id is not None:
        labels[REQUEST_LABEL] = request_id
    return [_document(item) for item in await list_objects(cluster, CONTROLLER_REVISION, namespace, labels=labels)]


def _document(source: KubeObject) -> Document:
    return Document(
        type=source.labels.get(TYPE_LABEL, ""),
        name=source.name,
        request_id=source.labels.get(REQUEST_LABEL, ""),
        data=source.raw.get("data"),
        created_at=source.created_at,
    )
