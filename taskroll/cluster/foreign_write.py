"""How a definition differs from what an update may write on, and who is to be named for it."""

from __future__ import annotations

from taskroll.models.errors import ForeignWrite
from taskroll.models.plan import DefinitionChange, FormerObject, ObjectMetadata
from taskroll_agent.contracts import DefinitionKey

from .claim_definitions import CLAIM
from .definitions import LiveDefinition
from .managed_metadata import compose_metadata
from .resources import is_manager_of


def metadata_differences(live: ObjectMetadata, expected: ObjectMetadata) -> list[str]:
    """What differs, one phrase each, keys only: values may be long or private."""
    found = _map_differences("label", live.labels, expected.labels)
    found += _map_differences("annotation", live.annotations, expected.annotations)
    if live.finalizers != expected.finalizers:
        found.append("finalizers differ")
    if live.owner_references != expected.owner_references:
        found.append("ownerReferences differ")
    return found


def differences_from(live: LiveDefinition | None, former: FormerObject | None) -> list[str]:
    """How the live object differs from the one that the plan was made from. A mere status write is no difference."""
    if live is None:
        return ["it is gone"] if former is not None else []
    if former is None:
        return ["it exists"]
    found = ["it was deleted and created again"] if live.uid != former.uid else []
    if live.is_deleting:
        found.append("it is being deleted")
    found += metadata_differences(live.metadata, former.metadata)
    if (digest := live.content.digest()) != former.digest:
        found.append(f"content differs: {digest} instead of {former.digest}")
    return found


def differences_from_own_write(live: LiveDefinition | None, change: DefinitionChange, request_id: str) -> list[str]:
    """How the live object differs from what this update's write of `change` made of it; empty where it is just that.

    What is compared for a change is content, not authorship: a write that only takes labels away leaves no trace of its
    writer. An object that somebody else created with our very content is not ours, though: it would be deleted.
    """
    if change.after is None:
        return [] if live is None else ["it exists"]
    if live is None:
        return ["it is gone"]
    found: list[str] = []
    if change.former is None and not written_by(live, request_id):
        found.append("somebody else created it")
    if change.former is not None and live.uid != change.former.uid:
        found.append("it was deleted and created again")
    digest = live.content.digest()
    if change.former is not None and digest == change.former.digest != change.after.digest:
        return [
            *found,
            "its content is that of before the update",
            *metadata_differences(live.metadata, change.former.metadata),
        ]
    former = change.former.metadata if change.former else None
    expected = compose_metadata(former, live.content.metadata, change.after.git_commit)
    found += metadata_differences(live.metadata, expected)
    if digest != change.after.digest:
        found.append(f"content differs: {digest} instead of {change.after.digest}")
    return found


def written_by(live: LiveDefinition, request_id: str) -> bool:
    """Whether the update wrote any part of the object; a recovery's mark is no write."""
    return any(is_manager_of(writer.manager, request_id) and writer.operation != CLAIM for writer in live.writers)


def foreign_write(
    key: DefinitionKey, live: LiveDefinition | None, differences: list[str], request_id: str
) -> ForeignWrite:
    """The error that names the object, its last other writer, and what differs."""
    who = last_foreign_writer(live, request_id)
    return ForeignWrite(
        f"{key} is not as this update left or found it: {'; '.join(differences)}{who}. It stays as it is"
    )


def last_foreign_writer(live: LiveDefinition | None, request_id: str) -> str:
    """A phrase that names who wrote last, other than this update; empty where the API server does not know.

    It keeps whole seconds, so there may be several; and who only took something away leaves no trace.
    """
    if live is None:
        return ""
    others = [
        writer for writer in live.writers if not is_manager_of(writer.manager, request_id) and not writer.subresource
    ]
    if not others:
        return ""
    time = max(writer.time for writer in others)
    names = sorted({writer.manager for writer in others if writer.time == time})
    return f"; last written at {time} by {' or '.join(map(repr, names))}"


def _map_differences(what: str, live: dict[str, str], expected: dict[str, str]) -> list[str]:
    found: list[str] = []
    for key in sorted({*live, *expected}):
        if key not in expected:
            found.append(f"{what} {key} was added")
        elif key not in live:
            found.append(f"{what} {key} was removed")
        elif live[key] != expected[key]:
            found.append(f"{what} {key} was changed")
    return found
