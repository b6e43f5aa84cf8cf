"""Revisions: immutable copies of definitions, each named by its digest."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from pydantic import ValidationError

from taskroll.models.errors import TamperedState
from taskroll_agent.contracts import DefinitionContent, DefinitionKey, revision_name

from .bounded import run_bounded
from .connection import Cluster
from .documents import read_document, write_document
from .objects import find_object
from .resources import CONTROLLER_REVISION


async def write_definition_revision(
    cluster: Cluster, namespace: str, content: DefinitionContent, *, request_id: str
) -> bool:
    """Store a definition; return False where it is stored already.

    Raises:
        DocumentConflict: where the name is taken by other content: a forged object, or two digests that share 64 bits.
        ClusterError: `TooLarge`.
    """
    return await write_document(
        cluster,
        namespace,
        type="definition",
        name=revision_name(content.key, content.digest()),
        data=content.model_dump(mode="json"),
        request_id=request_id,
    )


async def write_definition_revisions(
    cluster: Cluster, namespace: str, contents: Iterable[DefinitionContent], *, request_id: str
) -> int:
    """Store many; return how many were not there yet."""

    async def one(content: DefinitionContent) -> bool:
        return await write_definition_revision(cluster, namespace, content, request_id=request_id)

    return sum(await run_bounded(list(contents), one))


async def read_definition_revision(
    cluster: Cluster, namespace: str, key: DefinitionKey, digest: str
) -> DefinitionContent:
    """Read the definition with that digest.

    Raises:
        NotFound: where it was never stored.
        TamperedState: where what is stored under the name has another digest.
    """
    name = revision_name(key, digest)
    document = await read_document(cluster, namespace, name, type="definition")
    try:
        content = DefinitionContent.model_validate(document.data)
    except ValidationError as error:
        raise TamperedState(f"ControllerRevision/{name} holds no definition: {error}") from error
    if content.key != key or content.digest() != digest:
        raise TamperedState(
            f"ControllerRevision/{name} holds {content.key} with digest {content.digest()} "
            f"instead of {key} with {digest}"
        )
    return content


async def read_definition_revisions(
    cluster: Cluster, namespace: str, digests: Mapping[str, str]
) -> dict[str, DefinitionContent]:
    """Read many, by definition key → digest."""

    async def one(item: tuple[str, str]) -> DefinitionContent:
        return await read_definition_revision(cluster, namespace, DefinitionKey.parse(item[0]), item[1])

    items = list(digests.items())
    contents = await run_bounded(items, one)
    return {key: content for (key, _), content in zip(items, contents, strict=True)}


async def missing_revisions(cluster: Cluster, namespace: str, digests: Mapping[str, str]) -> list[str]:
    """Which of these definitions (key → digest) are not stored; their keys, in the order given. Reads no sources."""

    async def one(item: tuple[str, str]) -> bool:
        name = revision_name(DefinitionKey.parse(item[0]), item[1])
        return await find_object(cluster, CONTROLLER_REVISION, namespace, name, metadata_only=True) is None

    items = list(digests.items())
    absent = await run_bounded(items, one)
    return [key for (key, _), gone in zip(items, absent, strict=True) if gone]
