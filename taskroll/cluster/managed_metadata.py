"""Which labels and annotations of a definition are taskroll's, and what a write makes of the others: nothing.

A definition's content may bring labels and annotations of its own. Their names are listed in the annotation
``taskroll.dev/managed-metadata``; ``taskroll.dev/git-commit`` says where the source came from. Neither counts for the
digest. All other keys belong to somebody else.
"""

from __future__ import annotations

import json
from typing import Any, cast

from taskroll.models.errors import InvalidRequest
from taskroll.models.plan import ObjectMetadata
from taskroll_agent.contracts import DefinitionContent, Metadata, canonical_json

PREFIX = "taskroll.dev/"
MANAGED_METADATA = PREFIX + "managed-metadata"
GIT_COMMIT = PREFIX + "git-commit"


def managed_part(metadata: ObjectMetadata) -> Metadata:
    """The labels and annotations that belong to the definition's content.

    A listed key that somebody removed is not in it, so that the digest shows the drift; a list that somebody made
    unreadable counts as empty.
    """
    labels, annotations = _managed_keys(metadata)
    return Metadata(
        labels={key: value for key, value in sorted(metadata.labels.items()) if key in labels},
        annotations={key: value for key, value in sorted(metadata.annotations.items()) if key in annotations},
    )


def compose_metadata(former: ObjectMetadata | None, managed: Metadata, git_commit: str | None) -> ObjectMetadata:
    """The metadata of an object that had `former` (None: new) when the content's `managed` part is written to it."""
    former = former or ObjectMetadata()
    old_labels, old_annotations = _managed_keys(former)
    labels = {key: value for key, value in former.labels.items() if key not in old_labels}
    annotations = {
        key: value
        for key, value in former.annotations.items()
        if key not in old_annotations and key not in (MANAGED_METADATA, GIT_COMMIT)
    }
    labels |= managed.labels
    annotations |= managed.annotations
    if managed.labels or managed.annotations:
        keys = {"labels": sorted(managed.labels), "annotations": sorted(managed.annotations)}
        annotations[MANAGED_METADATA] = canonical_json(keys).decode()
    if git_commit is not None:
        annotations[GIT_COMMIT] = git_commit
    return ObjectMetadata(
        labels=labels,
        annotations=annotations,
        finalizers=former.finalizers,
        owner_references=former.owner_references,
    )


def check_reserved(content: DefinitionContent) -> None:
    """Refuse content that brings keys of taskroll's own.

    Raises:
        InvalidRequest: naming them.
    """
    reserved = [key for key in (*content.metadata.labels, *content.metadata.annotations) if key.startswith(PREFIX)]
    if reserved:
        raise InvalidRequest(
            f"{content.key}: metadata holds {', '.join(sorted(reserved))}: "
            f"keys under {PREFIX} are taskroll's own; remove them"
        )


def _managed_keys(metadata: ObjectMetadata) -> tuple[set[str], set[str]]:
    try:
        parsed: Any = json.loads(metadata.annotations.get(MANAGED_METADATA, "{}"))
    except ValueError:
        parsed = {}
    listed = cast("dict[str, Any]", parsed) if isinstance(parsed, dict) else {}
    return _keys(listed.get("labels")), _keys(listed.get("annotations"))


def _keys(value: Any) -> set[str]:
    names = cast("list[Any]", value) if isinstance(value, list) else []
    return {name for name in names if isinstance(name, str) and not name.startswith(PREFIX)}
