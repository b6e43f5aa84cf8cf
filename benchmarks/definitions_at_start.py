"""How a service without taskroll gets its tasks: it reads the custom resources when it starts, and never again."""

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any

import httpx

from taskroll_agent import AgentSettings
from taskroll_agent.cluster import PointerState
from taskroll_agent.contracts import DefinitionContent, DefinitionKey, Release, ReleaseEntry, ReleasePointer


class DefinitionsAtStart:
    """In the place of the agent's cluster: one release, made of the custom resources as they are at the start.

    So both kinds of replica load, serve and restart by the same code, and differ only in what they read.
    """

    def __init__(self, settings: AgentSettings) -> None:
        self._settings = settings
        self._contents: dict[str, DefinitionContent] | None = None
        self._reading = asyncio.Lock()

    async def pointer(self) -> PointerState:
        release = await self._release()
        return PointerState(
            ReleasePointer(
                epoch=1, release="at-start", request_id=release.request_id, content_digest=release.content_digest()
            )
        )

    async def release(self, name: str) -> Release:
        return await self._release()

    async def definition(self, key: DefinitionKey, digest: str) -> DefinitionContent:
        return (await self._read())[str(key)]

    async def follow_pointer(self) -> AsyncIterator[PointerState]:
        yield await self.pointer()
        await asyncio.Event().wait()

    async def aclose(self) -> None:
        pass

    async def _release(self) -> Release:
        contents = await self._read()
        return Release(
            epoch=1,
            request_id="at-start",
            origin="update",
            previous=None,
            created_at=datetime.now(UTC),
            requested_by="benchmark",
            reason="",
            definitions={key: ReleaseEntry(digest=content.digest()) for key, content in contents.items()},
        )

    async def _read(self) -> dict[str, DefinitionContent]:
        async with self._reading:
            if self._contents is None:
                self._contents = await self._list()
            return self._contents

    async def _list(self) -> dict[str, DefinitionContent]:
        settings = self._settings
        verify = str(settings.kube_ca_file) if settings.kube_ca_file else True
        async with httpx.AsyncClient(base_url=settings.kube_url, verify=verify, trust_env=False) as client:
            response = await client.get(
                f"/apis/cornserve.ai/v1/namespaces/{settings.namespace}/taskdefinitions",
                headers={"Authorization": f"Bearer {settings.kube_token}"},
            )
            response.raise_for_status()
        items: list[dict[str, Any]] = response.json()["items"]
        contents = [
            DefinitionContent(kind="TaskDefinition", name=item["metadata"]["name"], spec=item["spec"]) for item in items
        ]
        return {str(content.key): content for content in contents}
