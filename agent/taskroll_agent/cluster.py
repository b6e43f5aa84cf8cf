"""What an agent reads of the cluster: the release pointer, releases, and the revisions of definitions."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any, Final, Protocol
from urllib.parse import quote

import httpx
from pydantic import ValidationError

from .contracts import (
    POINTER_NAME,
    DefinitionContent,
    DefinitionKey,
    Release,
    ReleasePointer,
    revision_name,
)
from .errors import ClusterError, CorruptObject
from .kube_api import Backoff, KubeApi, ResourceExpired
from .settings import AgentSettings

_SELECT_POINTER: Final = {"fieldSelector": f"metadata.name={POINTER_NAME}"}


@dataclass(frozen=True)
class PointerState:
    """What one look at the release pointer showed."""

    pointer: ReleasePointer | None
    """None where there is no pointer, or none that can be trusted."""
    problem: str | None = None
    """Why it cannot be trusted: its digest does not match, or a field is wrong."""

    @property
    def absent(self) -> bool:
        """There is no such object: nothing was ever released here, or somebody deleted it."""
        return self.pointer is None and self.problem is None


class Cluster(Protocol):
    """The reads that an agent needs; tests put their own in its place."""

    async def pointer(self) -> PointerState:
        """Read the release pointer, most recent state."""
        ...

    async def release(self, name: str) -> Release:
        """Read a release.

        Raises:
            NotInCluster, CorruptObject, ClusterForbidden, ClusterUnavailable.
        """
        ...

    async def definition(self, key: DefinitionKey, digest: str) -> DefinitionContent:
        """Read the revision of a definition, its digest recomputed and checked.

        Raises:
            NotInCluster, CorruptObject, ClusterForbidden, ClusterUnavailable.
        """
        ...

    def follow_pointer(self) -> AsyncIterator[PointerState | ClusterError]:
        """The pointer's state now, and again whenever it may have changed; never ends.

        What goes wrong on the way is yielded, not raised: the caller can do nothing but know.
        """
        ...

    async def aclose(self) -> None: ...


class _Heard:
    """What watch and re-reads have said, in order, and how many times something was said."""

    def __init__(self) -> None:
        self.queue: asyncio.Queue[PointerState | ClusterError] = asyncio.Queue()
        self.count = 0

    def put(self, what: PointerState | ClusterError) -> None:
        self.count += 1
        self.queue.put_nowait(what)


class KubeCluster:
    """The reads against a real API server."""

    def __init__(self, settings: AgentSettings, transport: httpx.AsyncBaseTransport | None = None) -> None:
        """`transport` stands in for the network in tests."""
        self._api = KubeApi(settings, transport)
        self._resync = settings.resync_interval
        space = quote(settings.namespace, safe="")
        self._pointers = f"/api/v1/namespaces/{space}/configmaps"
        self._revisions = f"/apis/apps/v1/namespaces/{space}/controllerrevisions"

    async def aclose(self) -> None:
        await self._api.aclose()

    async def pointer(self) -> PointerState:
        return (await self._list_pointer())[0]

    async def release(self, name: str) -> Release:
        data = await self._revision(name, f"release {name} does not exist")
        try:
            return Release.model_validate(data)
        except ValidationError as error:
            raise CorruptObject(f"{name} is no release: {_fields(error)}") from None

    async def definition(self, key: DefinitionKey, digest: str) -> DefinitionContent:
        name = revision_name(key, digest)
        data = await self._revision(name, f"{key}: revision {name} does not exist")
        try:
            content = DefinitionContent.model_validate(data)
            found = content.digest()
        except ValueError as error:
            what = _fields(error) if isinstance(error, ValidationError) else "not canonical JSON"
            raise CorruptObject(f"{key}: revision {name} is no definition: {what}") from None
        if found != digest or content.key != key:
            raise CorruptObject(f"{key}: revision {name} holds {content.key} {found}, not {digest}")
        return content

    async def follow_pointer(self) -> AsyncIterator[PointerState | ClusterError]:
        """List, then watch from there; on any trouble wait a little (jittered, growing) and list again.

        Independent of the watch the pointer is listed every `resync_interval`: a watch can die without a sign.
        """
        heard: _Heard = _Heard()
        tasks = [asyncio.create_task(self._watch_into(heard)), asyncio.create_task(self._reread_into(heard))]
        try:
            while True:
                yield await heard.queue.get()
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _watch_into(self, heard: "_Heard") -> None:
        backoff = Backoff()
        version: str | None = None
        while True:
            alive = False
            try:
                if version is None:
                    state, version = await self._list_pointer()
                    heard.put(state)
                async with self._api.watch(self._pointers, {**_SELECT_POINTER, "resourceVersion": version}) as events:
                    async for event in events:
                        alive = True
                        seen: dict[str, Any] = event.get("object", {})
                        version = seen.get("metadata", {}).get("resourceVersion", version)
                        if event.get("type") in ("ADDED", "MODIFIED"):
                            heard.put(_state(seen))
                        elif event.get("type") == "DELETED":
                            heard.put(PointerState(None))
            except ResourceExpired:
                version = None
            except ClusterError as error:
                version = None
                heard.put(error)
            if alive:
                backoff.reset()
            # Also where the server ended the watch in good order: one that does so at once must not make us spin.
            await asyncio.sleep(backoff.next())

    async def _reread_into(self, heard: "_Heard") -> None:
        while True:
            await asyncio.sleep(Backoff(base=self._resync, cap=self._resync).next())
            before = heard.count
            try:
                state = await self.pointer()
            except ClusterError as error:
                heard.put(error)
            else:
                # What the watch said meanwhile may be newer than this answer; it must not be taken back by it.
                if heard.count == before:
                    heard.put(state)

    async def _list_pointer(self) -> tuple[PointerState, str]:
        # A list rather than a GET: its resource version is where a watch goes on, object or none. Without a
        # resourceVersion in the question the answer is the most recent state, not one from a cache.
        found = await self._api.get(self._pointers, _SELECT_POINTER, missing="namespace not found")
        items: list[dict[str, Any]] = found.get("items") or []
        version = str(found.get("metadata", {}).get("resourceVersion", ""))
        return (_state(items[0]) if items else PointerState(None)), version

    async def _revision(self, name: str, missing: str) -> dict[str, Any]:
        found = await self._api.get(f"{self._revisions}/{quote(name, safe='')}", missing=missing)
        data = found.get("data")
        if not isinstance(data, dict):
            raise CorruptObject(f"{name} holds no data")
        return data  # pyright: ignore[reportUnknownVariableType]


def _state(config_map: dict[str, Any]) -> PointerState:
    try:
        return PointerState(ReleasePointer.from_data(config_map.get("data") or {}))
    except ValidationError as error:
        return PointerState(None, f"release pointer {POINTER_NAME}: {_fields(error)}")
    except ValueError as error:
        return PointerState(None, str(error))


def _fields(error: ValueError) -> str:
    """Which fields are wrong and how, without the values: these may be sources."""
    if not isinstance(error, ValidationError):
        return str(error)
    return "; ".join(f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors()[:5])
