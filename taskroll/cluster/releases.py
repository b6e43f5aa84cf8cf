"""Releases as they are stored: the pointer names the current one, each names the one before."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass

from pydantic import ValidationError

from taskroll.models.errors import TamperedState, UnknownRelease
from taskroll_agent.contracts import POINTER_NAME, Release, ReleasePointer, release_name

from .config_maps import read_config_map, string_data
from .connection import Cluster
from .documents import list_documents, read_document
from .errors import NotFound
from .objects import KubeObject

_NAME_PREFIX = release_name(0, "").removesuffix("000000-")


@dataclass(frozen=True)
class StoredPointer:
    """The pointer, and the object that it was read from: what a compare-and-swap needs."""

    pointer: ReleasePointer
    source: KubeObject


async def read_pointer(cluster: Cluster, namespace: str) -> ReleasePointer | None:
    """The release pointer; None before the first release.

    Raises:
        TamperedState: where it was edited by hand.
    """
    stored = await read_stored_pointer(cluster, namespace)
    return stored.pointer if stored else None


async def read_stored_pointer(cluster: Cluster, namespace: str) -> StoredPointer | None:
    """The release pointer with its object; None before the first release. Raises as `read_pointer`."""
    source = await read_config_map(cluster, namespace, POINTER_NAME)
    if source is None:
        return None
    try:
        return StoredPointer(ReleasePointer.from_data(string_data(source)), source)
    except ValueError as error:
        raise TamperedState(f"ConfigMap/{POINTER_NAME} in {namespace}: {error}") from error


async def read_release(cluster: Cluster, namespace: str, name: str) -> Release:
    """The release stored under that name, whether the pointer ever named it or not.

    Raises:
        NotFound: where there is none.
        TamperedState: where the object holds no release, or one of another name.
    """
    document = await read_document(cluster, namespace, name, type="release")
    return _release(document.data, name)


async def current_release(cluster: Cluster, namespace: str) -> Release | None:
    """The release that the pointer names; None before the first.

    Raises:
        TamperedState: where pointer and release do not fit together, or the release is gone.
    """
    pointer = await read_pointer(cluster, namespace)
    return None if pointer is None else await release_of(cluster, namespace, pointer)


async def release_of(cluster: Cluster, namespace: str, pointer: ReleasePointer) -> Release:
    """The release that this pointer names. Raises as `current_release`."""
    release = await _expected_release(cluster, namespace, pointer.release)
    if release.content_digest() != pointer.content_digest or release.epoch != pointer.epoch:
        raise TamperedState(
            f"ConfigMap/{POINTER_NAME} in {namespace} names {pointer.release} as epoch {pointer.epoch} with content "
            f"{pointer.content_digest}; the release is epoch {release.epoch} with content {release.content_digest()}"
        )
    return release


async def list_releases(cluster: Cluster, namespace: str) -> list[Release]:
    """All releases that the pointer ever named, the newest first.

    Those that lost the race for their epoch were stored too, and are left out. One list call per 250 releases.

    Raises:
        TamperedState: where the chain is broken.
    """
    pointer = await read_pointer(cluster, namespace)
    if pointer is None:
        return []
    stored = {document.name: document for document in await list_documents(cluster, namespace, type="release")}
    chain: list[Release] = []
    name: str | None = pointer.release
    while name is not None:
        if name not in stored:
            # Committed after the list was read, or gone: look at the object itself.
            release = await _expected_release(cluster, namespace, name)
        else:
            release = _release(stored[name].data, name)
        chain.append(release)
        name = _checked_previous(release)
    return chain


async def find_release(cluster: Cluster, namespace: str, epoch: int) -> Release:
    """The release of that epoch.

    Raises:
        UnknownRelease: where the pointer never named one of that epoch.
        TamperedState: where the chain is broken.
    """
    newest = 0
    async for release in walk_releases(cluster, namespace):
        newest = max(newest, release.epoch)
        if release.epoch == epoch:
            return release
        if release.epoch < epoch:
            break
    known = f"the newest is {newest}" if newest else "there is none yet"
    raise UnknownRelease(f"no release {epoch} in namespace {namespace!r}; {known}")


async def walk_releases(
    cluster: Cluster, namespace: str, pointer: ReleasePointer | None = None
) -> AsyncIterator[Release]:
    """The chain, from the pointer (read here where none is given) to the first release; one read each."""
    pointer = pointer or await read_pointer(cluster, namespace)
    if pointer is None:
        return
    release = await release_of(cluster, namespace, pointer)
    yield release
    while (name := _checked_previous(release)) is not None:
        release = await _expected_release(cluster, namespace, name)
        yield release


async def _expected_release(cluster: Cluster, namespace: str, name: str) -> Release:
    try:
        return await read_release(cluster, namespace, name)
    except NotFound as error:
        raise TamperedState(f"release {name} in {namespace} is part of the chain and is gone") from error


def _checked_previous(release: Release) -> str | None:
    """The name of the release before. Its epoch, which the name carries, has to be lower: a chain, not a ring."""
    name = release.previous
    if name is not None and epoch_in(name) >= release.epoch:
        raise TamperedState(f"release {release_name(release.epoch, release.request_id)} names {name} as the one before")
    return name


def epoch_in(name: str) -> int:
    """The epoch that the name of a release's object carries.

    Raises:
        TamperedState: where it is no such name.
    """
    number = name.removeprefix(_NAME_PREFIX).partition("-")[0]
    if not name.startswith(_NAME_PREFIX) or not number.isdecimal():
        raise TamperedState(f"{name!r} is no name of a release")
    return int(number)


def _release(data: object, name: str) -> Release:
    try:
        release = Release.model_validate(data)
    except ValidationError as error:
        raise TamperedState(f"ControllerRevision/{name} holds no release: {error}") from error
    if release_name(release.epoch, release.request_id) != name:
        raise TamperedState(
            f"ControllerRevision/{name} holds release {release_name(release.epoch, release.request_id)}"
        )
    return release
