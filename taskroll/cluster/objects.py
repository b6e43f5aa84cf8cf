"""The verbs: read, find, list, create, replace, apply, delete. Each write says who writes, and on which state."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, cast

from .connection import Cluster
from .errors import Expired, NotFound
from .resources import Resource
from .transport import APPLY, JSON, METADATA_LIST, METADATA_ONLY, Call, JsonObject

# Definitions carry whole modules, 20 to 40 KB each: a page stays under some 10 MB.
PAGE = 250
_LIST_ATTEMPTS = 3


@dataclass(frozen=True)
class FieldWriter:
    """One entry of ``managedFields``: who wrote a part of the object, and when (RFC 3339, whole seconds)."""

    manager: str
    time: str
    subresource: str
    operation: str
    """``Update`` or ``Apply``."""


@dataclass(frozen=True)
class KubeObject:
    """An object as the API server gave it."""

    raw: JsonObject

    @property
    def meta(self) -> JsonObject:
        return self.raw.get("metadata") or {}

    @property
    def name(self) -> str:
        return str(self.meta.get("name", ""))

    @property
    def uid(self) -> str:
        return str(self.meta.get("uid", ""))

    @property
    def resource_version(self) -> str:
        return str(self.meta.get("resourceVersion", ""))

    @property
    def created_at(self) -> str:
        return str(self.meta.get("creationTimestamp", ""))

    @property
    def is_deleting(self) -> bool:
        """Whether it was deleted and only its finalizers keep it."""
        return bool(self.meta.get("deletionTimestamp"))

    @property
    def labels(self) -> dict[str, str]:
        return dict(self.meta.get("labels") or {})

    @property
    def annotations(self) -> dict[str, str]:
        return dict(self.meta.get("annotations") or {})

    @property
    def finalizers(self) -> list[str]:
        return list(self.meta.get("finalizers") or [])

    @property
    def owner_references(self) -> list[dict[str, object]]:
        return list(self.meta.get("ownerReferences") or [])

    @property
    def spec(self) -> JsonObject:
        return self.raw.get("spec") or {}

    @property
    def status(self) -> JsonObject:
        return self.raw.get("status") or {}

    @property
    def data(self) -> JsonObject:
        return self.raw.get("data") or {}

    @property
    def writers(self) -> list[FieldWriter]:
        entries = cast("list[dict[str, Any]]", self.meta.get("managedFields") or [])
        return [
            FieldWriter(*(str(entry.get(part, "")) for part in ("manager", "time", "subresource", "operation")))
            for entry in entries
        ]


async def read_object(
    cluster: Cluster, resource: Resource, namespace: str | None, name: str, *, metadata_only: bool = False
) -> KubeObject:
    """Read one object, or only its metadata.

    Raises:
        NotFound: where there is none of that name.
    """
    call = Call("read", resource.path(namespace, name), resource.kind, name)
    if metadata_only:
        call = Call("read", call.path, call.kind, name, accept=METADATA_ONLY)
    return KubeObject(await cluster.send(call))


async def find_object(
    cluster: Cluster, resource: Resource, namespace: str | None, name: str, *, metadata_only: bool = False
) -> KubeObject | None:
    """Read one object; None where there is none. A kind that the server does not know is an error all the same."""
    try:
        return await read_object(cluster, resource, namespace, name, metadata_only=metadata_only)
    except NotFound:
        return None


async def list_objects(
    cluster: Cluster,
    resource: Resource,
    namespace: str | None,
    *,
    labels: Mapping[str, str] | None = None,
    fields: Mapping[str, str] | None = None,
    metadata_only: bool = False,
) -> list[KubeObject]:
    """Read all objects that have these labels and fields, in pages that together are one consistent state.

    Raises:
        Invalid: where the API server cannot select by one of the `fields`.
    """
    selectors = {
        name: ",".join(f"{key}={value}" for key, value in wanted.items())
        for name, wanted in (("labelSelector", labels), ("fieldSelector", fields))
        if wanted
    }
    for attempt in range(_LIST_ATTEMPTS):
        try:
            return await _list_pages(cluster, resource, namespace, selectors, metadata_only)
        except Expired:
            # etcd dropped the state of the first page (after 5 minutes by default): begin again.
            if attempt == _LIST_ATTEMPTS - 1:
                raise
    raise AssertionError("unreachable")


async def _list_pages(
    cluster: Cluster, resource: Resource, namespace: str | None, selectors: Mapping[str, str], metadata_only: bool
) -> list[KubeObject]:
    found: list[KubeObject] = []
    query = {"limit": str(PAGE), **selectors}
    accept = METADATA_LIST if metadata_only else JSON
    while True:
        page = await cluster.send(Call("list", resource.path(namespace), resource.kind, query=query, accept=accept))
        found += [KubeObject(item) for item in cast("list[JsonObject]", page.get("items") or [])]
        token = str(cast(JsonObject, page.get("metadata") or {}).get("continue") or "")
        if not token:
            return found
        query["continue"] = token


async def create_object(
    cluster: Cluster,
    resource: Resource,
    namespace: str | None,
    body: JsonObject,
    *,
    manager: str,
    dry_run: bool = False,
) -> KubeObject:
    """Create it; return it as stored.

    Raises:
        AlreadyExists: where one of that name is there.
    """
    name = str(body["metadata"]["name"])
    full = {"apiVersion": resource.api_version, "kind": resource.kind, **body}
    query = _write_query(manager, dry_run)
    return KubeObject(
        await cluster.send(Call("create", resource.path(namespace), resource.kind, name, query=query, body=full))
    )


async def replace_object(
    cluster: Cluster,
    resource: Resource,
    namespace: str | None,
    body: JsonObject,
    *,
    manager: str,
    subresource: str | None = None,
    dry_run: bool = False,
) -> KubeObject:
    """Replace it, or one subresource, if nobody has written since it was read; return it as stored.

    Raises:
        Conflict: where somebody has.
        NotFound: where it is gone.
    """
    name = str(body["metadata"]["name"])
    if not body["metadata"].get("resourceVersion"):
        raise ValueError(f"{resource.kind}/{name}: a replace needs the resourceVersion that was read")
    full = {"apiVersion": resource.api_version, "kind": resource.kind, **body}
    path = resource.path(namespace, name, subresource)
    query = _write_query(manager, dry_run)
    return KubeObject(await cluster.send(Call("replace", path, resource.kind, name, query=query, body=full)))


async def apply_object(
    cluster: Cluster,
    resource: Resource,
    namespace: str | None,
    body: JsonObject,
    *,
    manager: str,
    dry_run: bool = False,
) -> KubeObject:
    """Server-side apply: create it, or bring the fields in `body` to these values, whoever wrote them before.

    A `resourceVersion` in `body` is a precondition.

    Raises:
        Conflict: where it is given and somebody has written since.
    """
    name = str(body["metadata"]["name"])
    path = resource.path(namespace, name)
    query = {"fieldManager": manager, "force": "true", **({"dryRun": "All"} if dry_run else {})}
    call = Call("apply", path, resource.kind, name, query=query, body=body, content_type=APPLY)
    return KubeObject(await cluster.send(call))


async def delete_object(
    cluster: Cluster,
    resource: Resource,
    namespace: str | None,
    name: str,
    *,
    uid: str,
    resource_version: str,
    dry_run: bool = False,
) -> None:
    """Delete it if it still is the object and the state that was read.

    Raises:
        Conflict: where it is another one, or somebody has written since.
        NotFound: where it is gone.
    """
    body: JsonObject = {
        "apiVersion": "v1",
        "kind": "DeleteOptions",
        "propagationPolicy": "Background",
        "preconditions": {"uid": uid, "resourceVersion": resource_version},
    }
    if dry_run:
        body["dryRun"] = ["All"]
    await cluster.send(Call("delete", resource.path(namespace, name), resource.kind, name, body=body))


def _write_query(manager: str, dry_run: bool) -> dict[str, str]:
    # Strict: a field that the schema would silently drop is an error.
    query = {"fieldManager": manager, "fieldValidation": "Strict"}
    return {**query, "dryRun": "All"} if dry_run else query
