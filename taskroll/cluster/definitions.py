"""Definitions as they stand in the cluster."""

from __future__ import annotations

from dataclasses import dataclass

from taskroll.models.plan import FormerObject, ObjectMetadata
from taskroll_agent.contracts import DefinitionContent, DefinitionKey, Kind, ReleaseEntry

from .bounded import run_bounded
from .connection import Cluster
from .managed_metadata import GIT_COMMIT, managed_part
from .objects import FieldWriter, KubeObject, find_object, list_objects
from .resources import DEFINITION_RESOURCES


@dataclass(frozen=True)
class LiveDefinition:
    """One definition as it was read.

    Attributes:
        content: Its spec and the metadata that taskroll manages.
        git_commit: Where its source came from; None where nobody said.
        metadata: All its labels, annotations, finalizers and owner references.
        uid: Another one after it was deleted and created again.
        resource_version: Another one after each write.
        is_deleting: Deleted, and kept only by its finalizers.
        writers: Who wrote its parts.
        source: The whole object.
    """

    content: DefinitionContent
    git_commit: str | None
    metadata: ObjectMetadata
    uid: str
    resource_version: str
    is_deleting: bool
    writers: tuple[FieldWriter, ...]
    source: KubeObject

    @property
    def key(self) -> DefinitionKey:
        return self.content.key

    @property
    def entry(self) -> ReleaseEntry:
        """As a release names it."""
        return ReleaseEntry(digest=self.content.digest(), git_commit=self.git_commit)

    def former(self) -> FormerObject:
        """What a plan keeps of it, so that the object can be brought back exactly."""
        return FormerObject(
            digest=self.content.digest(),
            uid=self.uid,
            resource_version=self.resource_version,
            metadata=self.metadata,
        )


async def list_definitions(cluster: Cluster, namespace: str) -> dict[str, LiveDefinition]:
    """All definitions of both kinds, by key, ordered by key.

    The two kinds are two lists: a write between them shows in one and not in the other. Whoever acts on it checks each
    object again with its write.
    """

    async def of_kind(kind: Kind) -> list[LiveDefinition]:
        found = await list_objects(cluster, DEFINITION_RESOURCES[kind], namespace)
        return [live_from_object(kind, item) for item in found]

    lists = await run_bounded(list(DEFINITION_RESOURCES), of_kind)
    live = {str(definition.key): definition for found in lists for definition in found}
    return dict(sorted(live.items()))


async def read_definition(cluster: Cluster, namespace: str, key: DefinitionKey) -> LiveDefinition | None:
    """One definition; None where there is none of that name."""
    found = await find_object(cluster, DEFINITION_RESOURCES[key.kind], namespace, key.name)
    return None if found is None else live_from_object(key.kind, found)


def live_from_object(kind: Kind, source: KubeObject) -> LiveDefinition:
    """Read a definition out of an object of its kind."""
    metadata = ObjectMetadata(
        labels=source.labels,
        annotations=source.annotations,
        finalizers=source.finalizers,
        owner_references=source.owner_references,
    )
    return LiveDefinition(
        content=DefinitionContent(kind=kind, name=source.name, spec=source.spec, metadata=managed_part(metadata)),
        git_commit=metadata.annotations.get(GIT_COMMIT),
        metadata=metadata,
        uid=source.uid,
        resource_version=source.resource_version,
        is_deleting=source.is_deleting,
        writers=tuple(source.writers),
        source=source,
    )
