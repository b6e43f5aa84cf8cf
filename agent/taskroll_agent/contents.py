"""The contents of definitions, by digest. Revisions never change, so what is here need not be read again."""

import asyncio
from collections.abc import Iterable, Mapping
from typing import Final

from .cluster import Cluster
from .contracts import DefinitionContent, DefinitionKey, ImportProblem
from .errors import ClusterError, ClusterUnavailable, LoadFailed
from .kube_api import MAX_CONNECTIONS
from .loading import Revision
from .problems import rule_problem

READS_AT_ONCE: Final = MAX_CONNECTIONS
"""More would only wait for a connection."""


class ContentStore:
    """Reads what is missing, several at once, and keeps what it is told to keep."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self._by_digest: dict[str, DefinitionContent] = {}

    async def revisions(self, digests: Mapping[str, str]) -> dict[str, Revision]:
        """Return the content for each definition key → digest.

        Raises:
            LoadFailed: where revisions are missing or corrupt, one problem each.
            ClusterUnavailable: where they cannot be read now.
            ValueError: where a key is no definition key.
        """
        found = {key: self._by_digest[digest] for key, digest in digests.items() if digest in self._by_digest}
        missing = [(DefinitionKey.parse(key), digest) for key, digest in digests.items() if key not in found]
        problems: list[ImportProblem] = []
        broken: list[ClusterError] = []
        queue = iter(missing)

        async def read_on() -> None:
            # One of several that share the queue. When the API server cannot be read they all stop at that, each after
            # its request in flight: cancelling that could leak the connection (httpx 0.28).
            for key, digest in queue:
                try:
                    found[str(key)] = self._by_digest[digest] = await self._cluster.definition(key, digest)
                except ClusterUnavailable as error:
                    broken.append(error)
                except ClusterError as error:
                    problems.append(rule_problem(str(key), "", type(error).__name__, str(error)))
                if broken:
                    return

        await asyncio.gather(*(read_on() for _ in range(min(READS_AT_ONCE, len(missing)))))
        if broken:
            raise broken[0]
        if problems:
            raise LoadFailed(problems)
        return {key: Revision(digest, found[key]) for key, digest in digests.items()}

    def keep_only(self, digests: Iterable[str]) -> None:
        """Forget all others."""
        kept = frozenset(digests)
        self._by_digest = {digest: content for digest, content in self._by_digest.items() if digest in kept}

    def __len__(self) -> int:
        return len(self._by_digest)
