"""Releases in memory instead of a cluster: for tests of services that use the agent, and of the agent itself.

::

    cluster = MemoryCluster()
    cluster.commit_sources({"pkg.tasks.Encoder": "class Encoder: pass"})
    async with Agent(settings, cluster=cluster) as agent:
        agent.registry.get("Encoder")
"""

import asyncio
import base64
import re
from collections.abc import AsyncIterator, Mapping
from datetime import UTC, datetime

from .cluster import PointerState
from .contracts import DefinitionContent, DefinitionKey, Kind, Release, ReleaseEntry, ReleasePointer, release_name
from .errors import ClusterError, ClusterUnavailable, NotInCluster


class MemoryCluster:
    """A release pointer, releases and revisions that a test sets; answers as the API server would."""

    def __init__(self) -> None:
        self.releases: dict[str, Release] = {}
        self.definitions: dict[str, DefinitionContent] = {}
        """By digest."""
        self.state = PointerState(None)
        self.cut_off = False
        """While True every read fails as if the API server were not reachable, and the watch says nothing."""
        self.silent_watch = False
        """While True moves of the pointer are not told; reads work."""
        self.reads: list[str] = []
        """Each read in order: ``pointer``, a release's name, or a definition's key."""
        self._followers: list[asyncio.Queue[PointerState | ClusterError]] = []

    # --- what a test does

    def add(self, *contents: DefinitionContent) -> dict[str, str]:
        """Store revisions; returns definition key → digest."""
        self.definitions.update({content.digest(): content for content in contents})
        return {str(content.key): content.digest() for content in contents}

    def write_release(self, digests: Mapping[str, str], *, request_id: str = "req", epoch: int = 0) -> ReleasePointer:
        """Store a release without moving the pointer; the epoch is the next one unless given."""
        epoch = epoch or (max((r.epoch for r in self.releases.values()), default=0) + 1)
        release = Release(
            epoch=epoch,
            request_id=request_id,
            origin="update",
            previous=None,
            created_at=datetime.now(UTC),
            requested_by="test",
            reason="test",
            definitions={key: ReleaseEntry(digest=digest) for key, digest in digests.items()},
        )
        name = release_name(epoch, request_id)
        self.releases[name] = release
        return ReleasePointer(epoch=epoch, release=name, request_id=request_id, content_digest=release.content_digest())

    def move(self, state: ReleasePointer | PointerState) -> None:
        """Move the pointer; whoever follows it is told."""
        self.state = state if isinstance(state, PointerState) else PointerState(state)
        if not self.cut_off and not self.silent_watch:
            self.tell(self.state)

    def tell(self, news: PointerState | ClusterError) -> None:
        """Tell all who follow the pointer, whether it moved or not."""
        for follower in self._followers:
            follower.put_nowait(news)

    def commit(self, digests: Mapping[str, str], *, request_id: str = "req") -> ReleasePointer:
        """Store a release with the next epoch and move the pointer to it."""
        pointer = self.write_release(digests, request_id=request_id)
        self.move(pointer)
        return pointer

    def commit_sources(self, sources: Mapping[str, str], *, request_id: str = "req") -> ReleasePointer:
        """Release one task definition per ``module.ClassName`` → source, and nothing else."""
        contents: list[DefinitionContent] = []
        for name, source in sources.items():
            module, _, class_name = name.rpartition(".")
            contents.append(task_definition(module, class_name, source))
        return self.commit(self.add(*contents), request_id=request_id)

    # --- what an agent reads

    async def pointer(self) -> PointerState:
        self._read("pointer")
        return self.state

    async def release(self, name: str) -> Release:
        self._read(name)
        if name not in self.releases:
            raise NotInCluster(f"release {name} does not exist")
        return self.releases[name]

    async def definition(self, key: DefinitionKey, digest: str) -> DefinitionContent:
        self._read(str(key))
        await asyncio.sleep(0)
        if digest not in self.definitions:
            raise NotInCluster(f"{key}: no revision {digest}")
        return self.definitions[digest]

    async def follow_pointer(self) -> AsyncIterator[PointerState | ClusterError]:
        queue: asyncio.Queue[PointerState | ClusterError] = asyncio.Queue()
        queue.put_nowait(ClusterUnavailable("cut off") if self.cut_off else self.state)
        self._followers.append(queue)
        try:
            while True:
                yield await queue.get()
        finally:
            self._followers.remove(queue)

    async def aclose(self) -> None:
        pass

    def _read(self, what: str) -> None:
        if self.cut_off:
            raise ClusterUnavailable("cut off")
        self.reads.append(what)


def task_definition(module: str, class_name: str, source: str, *, kind: Kind = "TaskDefinition") -> DefinitionContent:
    """A definition with that source, its name the class name in kebab case."""
    field = "taskClassName" if kind == "TaskDefinition" else "descriptorClassName"
    spec = {"moduleName": module, field: class_name, "sourceCode": base64.b64encode(source.encode()).decode()}
    return DefinitionContent(kind=kind, name=re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "-", class_name).lower(), spec=spec)
