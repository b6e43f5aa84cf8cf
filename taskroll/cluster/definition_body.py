"""The object that a write sends for a definition."""

from __future__ import annotations

from typing import Any

from taskroll.models.plan import ObjectMetadata

from .definitions import LiveDefinition
from .transport import JsonObject


def definition_body(
    name: str, spec: dict[str, Any], metadata: ObjectMetadata, live: LiveDefinition | None
) -> JsonObject:
    """Spec and metadata as they shall be, on top of what is live (None: it is created).

    Everything else of the live object goes back as it was read; its resourceVersion makes the write conditional.
    ``managedFields`` is left out, which the API server takes as «unchanged».
    """
    rest = {key: value for key, value in live.source.raw.items() if key not in ("metadata", "spec")} if live else {}
    meta: JsonObject = dict(live.source.meta) if live else {"name": name}
    for field, value in (
        ("managedFields", None),
        ("labels", metadata.labels),
        ("annotations", metadata.annotations),
        ("finalizers", metadata.finalizers),
        ("ownerReferences", metadata.owner_references),
    ):
        meta.pop(field, None)
        if value:
            meta[field] = value
    return {**rest, "metadata": meta, "spec": spec}
