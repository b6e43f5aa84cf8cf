"""Releases: the full list of definitions that the services should run, and the pointer that names the current one."""

from datetime import datetime
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from .canonical import sha256_digest
from .definition import DefinitionKey, Digest

POINTER_NAME = "taskroll-release"
"""The name of the ConfigMap that is the release pointer, in the namespace of the definitions."""


class ReleaseEntry(BaseModel):
    """One definition of a release: the revision it runs, and the Git commit that its source came from."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    digest: Digest
    git_commit: str | None = None


class Release(BaseModel):
    """An immutable, numbered list of definitions. The number is the epoch; it only grows, for a rollback too."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    epoch: int = Field(ge=1)
    request_id: str
    origin: Literal["update", "rollback", "adoption", "compensation"]
    """The first three are what somebody asked for, ``adoption`` without a change of what is live; ``compensation``
    takes back a failed update."""
    previous: str | None
    """Name of the release before this one; None for the first."""
    created_at: datetime
    requested_by: str
    reason: str
    git_commit: str | None = None
    definitions: dict[str, ReleaseEntry]
    """By definition key, ``Kind/name``."""

    def digests(self) -> dict[str, str]:
        return {key: entry.digest for key, entry in self.definitions.items()}

    def content_digest(self) -> str:
        """``sha256:…`` over definition → digest. Two releases with the same content have the same one."""
        return content_digest(self.digests())

    def keys(self) -> list[DefinitionKey]:
        return [DefinitionKey.parse(key) for key in self.definitions]


class ReleasePointer(BaseModel):
    """The small object that names the current release. Moving it is the commit."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    epoch: int = Field(ge=1)
    release: str
    """Name of the ``ControllerRevision`` that holds the release."""
    request_id: str
    """The update that moved the pointer here."""
    content_digest: Digest
    """Of the release that it names."""

    def data(self) -> dict[str, str]:
        """The ConfigMap's ``data``, with a digest over the other entries so that an edit by hand is noticed."""
        fields = {name: str(value) for name, value in self.model_dump(mode="json").items()}
        return {**fields, "digest": sha256_digest(fields)}

    @classmethod
    def from_data(cls, data: dict[str, str]) -> "ReleasePointer":
        """Read the ConfigMap's ``data``.

        Raises:
            ValueError: where a field is missing or wrong, or the digest does not match: somebody edited it by hand.
        """
        fields = {name: value for name, value in data.items() if name != "digest"}
        if data.get("digest") != sha256_digest(fields):
            raise ValueError(f"release pointer {POINTER_NAME}: its digest does not match its content; edited by hand?")
        return cls.model_validate(fields)


def content_digest(digests: dict[str, str]) -> str:
    """``sha256:…`` over a map of definition key → digest."""
    return sha256_digest(digests)


def release_name(epoch: int, request_id: str) -> str:
    """The name of a release's ``ControllerRevision``.

    The request id is part of it: two updates that race for the same epoch write two objects, and the pointer names one.
    """
    return f"taskroll-release-{epoch:06d}-{request_id}"
