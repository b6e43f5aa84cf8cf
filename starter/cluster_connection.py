"""What the starter reads and writes in the cluster, in one namespace. Connected at the first use."""

import asyncio
from collections.abc import Mapping, Sequence
from datetime import datetime

from taskroll.cluster.app_sources import write_app_sources
from taskroll.cluster.connection import Cluster
from taskroll.cluster.definitions import LiveDefinition, list_definitions
from taskroll.cluster.errors import NotFound
from taskroll.cluster.fence_enforcement import missing_policies
from taskroll.cluster.kubeconfig import ClusterSettings
from taskroll.cluster.plans import read_plan
from taskroll.cluster.records import StoredRecord, find_records, list_record_names, read_record
from taskroll.cluster.releases import current_release, list_releases, walk_releases
from taskroll.cluster.requests import read_request, submit_request
from taskroll.cluster.revisions import missing_revisions, read_definition_revisions, write_definition_revisions
from taskroll.models.errors import UnknownUpdate
from taskroll.models.plan import PlanSummary
from taskroll.models.request import SubmittedRequest, UpdateRequest
from taskroll_agent.contracts import DefinitionContent, Release

from .settings import Settings


class ClusterConnection:
    """One connection for the life of a front. Close it."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._cluster: Cluster | None = None
        self._connecting = asyncio.Lock()

    async def close(self) -> None:
        """Close the connection, where one was made."""
        if self._cluster is not None:
            await self._cluster.close()
            self._cluster = None

    async def connection(self) -> Cluster:
        """The connection itself, for what is no business of the other methods."""
        return await self._connected()

    async def definitions(self) -> dict[str, LiveDefinition]:
        """The live definitions by key."""
        return await list_definitions(await self._connected(), self._settings.namespace)

    async def write_missing_revisions(self, request: UpdateRequest) -> int:
        """Store those definitions of a request that the cluster does not have yet; return how many that were."""
        if not request.definitions:
            return 0
        cluster = await self._connected()
        digests = {str(content.key): content.digest() for content in request.definitions}
        missing = set(await missing_revisions(cluster, self._settings.namespace, digests))
        absent = [content for content in request.definitions if str(content.key) in missing]
        return await write_definition_revisions(
            cluster, self._settings.namespace, absent, request_id=request.request_id
        )

    async def missing_revisions(self, digests: Mapping[str, str]) -> list[str]:
        """Which of these definitions (key → digest) are not stored."""
        return await missing_revisions(await self._connected(), self._settings.namespace, digests)

    async def contents(self, digests: Mapping[str, str]) -> dict[str, DefinitionContent]:
        """Definitions from their revisions, by definition key → digest."""
        return await read_definition_revisions(await self._connected(), self._settings.namespace, digests)

    async def missing_policies(self) -> list[str]:
        """Names of the admission policies that are not installed, or not bound to deny."""
        return await missing_policies(await self._connected())

    async def write_app_sources(self, request: UpdateRequest) -> None:
        """Store the sources of the apps that a request carries; those that are stored stay."""
        await write_app_sources(
            await self._connected(), self._settings.namespace, request.apps, request_id=request.request_id
        )

    async def submit_request(self, request: SubmittedRequest) -> bool:
        """Store a request under its id; False where the same one is stored already.

        Raises:
            RequestConflict: the id is taken by a request of other content.
        """
        return await submit_request(await self._connected(), request) == "new"

    async def request(self, request_id: str) -> SubmittedRequest | None:
        """What was submitted under an id."""
        try:
            return await read_request(await self._connected(), self._settings.namespace, request_id)
        except UnknownUpdate:
            return None

    async def record(self, request_id: str) -> StoredRecord | None:
        """The lasting record of an update; None before its plan."""
        try:
            return await read_record(await self._connected(), self._settings.namespace, request_id)
        except UnknownUpdate:
            return None

    async def plan(self, name: str) -> PlanSummary | None:
        """A plan by the name of its object; None where it is not stored any more."""
        try:
            return (await read_plan(await self._connected(), self._settings.namespace, name)).summary(name)
        except NotFound:
            return None

    async def record_names(self) -> list[tuple[datetime, str]]:
        """When each record was opened, to the second, and its request id; the newest first."""
        return await list_record_names(await self._connected(), self._settings.namespace)

    async def records(self, request_ids: Sequence[str]) -> list[StoredRecord]:
        """Those of these records that are there, in the order of the ids."""
        return await find_records(await self._connected(), self._settings.namespace, request_ids)

    async def current_release(self) -> Release | None:
        """The release that the services should run; None before the first."""
        return await current_release(await self._connected(), self._settings.namespace)

    async def releases(self) -> list[Release]:
        """All releases that were ever current, newest first."""
        return await list_releases(await self._connected(), self._settings.namespace)

    async def latest_releases(self, limit: int) -> list[Release]:
        """The newest of the releases that were ever current, so many of them; one read each."""
        found: list[Release] = []
        async for release in walk_releases(await self._connected(), self._settings.namespace):
            found.append(release)
            if len(found) == limit:
                break
        return found

    async def _connected(self) -> Cluster:
        async with self._connecting:
            if self._cluster is None:
                self._cluster = await Cluster.connect(
                    ClusterSettings(kubeconfig=self._settings.kubeconfig, context=self._settings.context)
                )
            return self._cluster
