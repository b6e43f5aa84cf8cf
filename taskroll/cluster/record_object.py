"""A record as a ``TaskUpdate`` object: what was asked for in its spec, what became of it in its status."""

from __future__ import annotations

from typing import Any, cast

from pydantic import ValidationError
from pydantic.alias_generators import to_camel, to_snake

from taskroll.models.errors import TamperedState
from taskroll.models.record import UpdateRecord

from .objects import KubeObject
from .transport import JsonObject

SPEC_FIELDS = (
    "request_digest",
    "workflow_id",
    "requested_by",
    "reason",
    "git_commit",
    "git_dirty",
    "origin",
    "target_release",
    "started_at",
)
"""What was asked for: cannot be changed once the record is opened."""
_NAME_FIELDS = ("request_id", "namespace")
DIGEST_FIELD = "digest"
"""In the status, once the record is sealed."""


def record_spec(record: UpdateRecord) -> JsonObject:
    """The object's ``spec``. None is left out: the API server would drop a null."""
    fields = record.model_dump(mode="json", exclude_none=True, include=set(SPEC_FIELDS))
    return cast(JsonObject, _renamed(fields, to_camel))


def record_status(record: UpdateRecord, *, sealed: bool) -> JsonObject:
    """The object's ``status``, with the record's digest where it is `sealed`."""
    fields = record.model_dump(mode="json", exclude_none=True, exclude={*SPEC_FIELDS, *_NAME_FIELDS})
    status = cast(JsonObject, _renamed(fields, to_camel))
    return {**status, DIGEST_FIELD: record.digest()} if sealed else status


def record_from(source: KubeObject) -> UpdateRecord:
    """Read the record out of the object.

    Raises:
        TamperedState: where it is none.
    """
    status = {key: value for key, value in source.status.items() if key != DIGEST_FIELD}
    fields = cast(JsonObject, _renamed({**source.spec, **status}, to_snake))
    named = {"request_id": source.name, "namespace": str(source.meta.get("namespace", ""))}
    try:
        return UpdateRecord.model_validate({**fields, **named})
    except ValidationError as error:
        raise TamperedState(f"TaskUpdate/{source.name} holds no record: {error}") from error


def is_sealed(source: KubeObject) -> bool:
    """Whether the update has ended and its record has its place in the chain."""
    return bool(source.status.get(DIGEST_FIELD))


def _renamed(value: Any, rename: Any) -> Any:
    if isinstance(value, dict):
        items = cast("dict[str, Any]", value).items()
        return {rename(key): _renamed(item, rename) for key, item in items}
    if isinstance(value, list):
        return [_renamed(item, rename) for item in cast("list[Any]", value)]
    return value
