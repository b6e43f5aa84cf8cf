"""From a release to its generation: at hand, from contents in memory, or from the revisions in the cluster."""

import asyncio
import logging
import time
from typing import Any

from .cluster import Cluster
from .contents import ContentStore
from .contracts import ReleasePointer, content_digest
from .errors import CorruptObject
from .generation import Generation
from .load_thread import run_in_thread
from .loading import Loading
from .prepared import PreparedGenerations
from .registry import Registry
from .settings import AgentSettings

_log = logging.getLogger(__name__)


class Assembly:
    """Makes generations, one load at a time, and keeps what the next one may need: prepared ones and contents."""

    def __init__(self, settings: AgentSettings, cluster: Cluster, registry: Registry) -> None:
        self._settings = settings
        self._cluster = cluster
        self._registry = registry
        self._contents = ContentStore(cluster)
        self._loads: dict[str, asyncio.Task[Generation]] = {}
        self._one_load = asyncio.Lock()
        self._former: dict[str, str] = {}
        self.prepared = PreparedGenerations(registry.let_go)

    def at_hand(self, content: str) -> Generation | None:
        """A generation with this content digest that needs no loading: prepared, or running under another epoch."""
        running = self._registry.active.generation
        return running if running.content_digest == content else self.prepared.with_content(content)

    async def digests_of(self, target: ReleasePointer) -> dict[str, str]:
        """Definition → digest of the release.

        From memory where it is the former one or a prepared one, so that a rollback needs no API server.

        Raises:
            CorruptObject: where the release is not what the pointer says.
            NotInCluster, ClusterForbidden, ClusterUnavailable: where it cannot be read.
        """
        for digests in (self._former, *(dict(prepared.generation.digests) for prepared in self.prepared)):
            if content_digest(digests) == target.content_digest:
                return digests
        release = await self._cluster.release(target.release)
        if release.epoch != target.epoch or release.content_digest() != target.content_digest:
            raise CorruptObject(f"release {target.release} is not what the pointer says: other epoch or content")
        return release.digests()

    async def generation(self, digests: dict[str, str]) -> Generation:
        """The generation with these definitions. All who want the same one at the same time wait for one load.

        Raises:
            LoadFailed: where definitions cannot be loaded, one problem each.
            ClusterUnavailable: where their revisions cannot be read now.
        """
        wanted = content_digest(digests)
        task = self._loads.get(wanted)
        if task is None:
            task = self._loads[wanted] = asyncio.create_task(self._generation(wanted, digests))
            task.add_done_callback(lambda done: (self._loads.pop(wanted, None), note_error(done)))
        return await asyncio.shield(task)

    def remember_former(self, generation: Generation) -> None:
        """Keep the contents of what ran before: a rollback goes there."""
        self._former = dict(generation.digests)

    def trim(self) -> None:
        """Forget the contents that neither the running, the former nor a prepared release has."""
        kept = {*self._registry.active.generation.digests.values(), *self._former.values()}
        self._contents.keep_only(kept.union(*(p.generation.digests.values() for p in self.prepared)))

    async def stop(self) -> None:
        """Give up the loads in flight: a process that ends does not wait for a module that may never end."""
        loads = list(self._loads.values())
        for task in loads:
            task.cancel()
        await asyncio.gather(*loads, return_exceptions=True)

    async def _generation(self, wanted: str, digests: dict[str, str]) -> Generation:
        at_hand = self.at_hand(wanted)
        if at_hand is not None:
            return at_hand
        revisions = await self._contents.revisions(digests)
        async with self._one_load:
            started = time.perf_counter()
            loading = Loading(revisions, self._settings.module_prefixes)
            generation = await run_in_thread(loading, self._settings.load_timeout)
        self._registry.track(generation)
        _log.info("loaded %d definitions in %.3f s", len(generation), time.perf_counter() - started)
        return generation


def note_error(task: asyncio.Task[Any]) -> None:
    """Take the outcome of a task that nobody may wait for any more, so that asyncio does not complain about it."""
    if not task.cancelled():
        task.exception()
