"""An update by the agents' own calls and one commit, for what the saga's unregistration check would wait for.

The order is that of a live update: prepare everywhere, hold the gateway's calls, commit, activate everywhere, release.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TypeVar

import httpx
from pydantic import BaseModel

from taskroll.cluster.commit_release import Committed, ReleaseOrder, commit_release
from taskroll.cluster.fence import lower_fence, raise_fence
from taskroll.cluster.fence_enforcement import await_enforcement
from taskroll.cluster.fence_state import FenceEntry
from taskroll.cluster.revisions import write_definition_revisions
from taskroll_agent.contracts import (
    API_PREFIX,
    ActivateAnswer,
    ActivateRequest,
    Attestation,
    Census,
    DefinitionContent,
    HoldAnswer,
    HoldRequest,
    PrepareAnswer,
    PrepareRequest,
    ReleaseAnswer,
    ReleaseEntry,
    ReleaseRequest,
)
from tests.saga.replicas import TOKEN
from tests.saga.world import World

from .adapted import AGENT_PORT
from .fleet import GATEWAY, Fleet

A = TypeVar("A", bound=BaseModel)


@dataclass
class DirectUpdate:
    """Calls to the agents of a fleet."""

    world: World
    fleet: Fleet
    client: httpx.AsyncClient

    @classmethod
    def of(cls, world: World, fleet: Fleet) -> DirectUpdate:
        headers = {"Authorization": f"Bearer {TOKEN}"}
        return cls(world, fleet, httpx.AsyncClient(trust_env=False, headers=headers, timeout=30.0))

    async def prepare(self, definitions: Iterable[DefinitionContent], request_id: str) -> dict[str, PrepareAnswer]:
        """Service → its answer."""
        contents = list(definitions)
        await write_definition_revisions(self.world.cluster, self.world.namespace, contents, request_id=request_id)
        request = PrepareRequest(
            request_id=request_id, definitions={str(content.key): content.digest() for content in contents}
        )
        names = [service.name for service in self.fleet.stock]
        answers = await asyncio.gather(*(self._post(name, "prepare", request, PrepareAnswer) for name in names))
        return dict(zip(names, answers, strict=True))

    async def commit(self, definitions: Iterable[DefinitionContent], request_id: str) -> Committed:
        """Move the pointer, behind a fence as an update does: the agents that watch it flip by themselves."""
        cluster, namespace = self.world.cluster, self.world.namespace
        # Of no task: instances live on here.
        entry = FenceEntry(request_id=request_id, exclusive=["TaskDefinition/nobody"], task_classes=[request_id])
        fenced = await raise_fence(cluster, namespace, entry, datetime.now(UTC))
        assert fenced.held
        assert await await_enforcement(cluster, namespace, fenced.probe_class, within=10)
        order = ReleaseOrder(
            request_id=request_id,
            origin="update",
            changes={str(one.key): ReleaseEntry(digest=one.digest()) for one in definitions},
            base={},
            requested_by="tester",
            reason="a test",
            git_commit=None,
            now=datetime.now(UTC),
        )
        try:
            return await commit_release(cluster, namespace, order)
        finally:
            await lower_fence(cluster, namespace, request_id)

    async def activate(self, committed: Committed, request_id: str) -> None:
        """Activate everywhere; raises httpx.HTTPStatusError where one refuses."""
        request = ActivateRequest(
            request_id=request_id,
            epoch=committed.epoch,
            release=committed.release,
            content_digest=committed.content_digest,
        )
        await asyncio.gather(
            *(self._post(service.name, "activate", request, ActivateAnswer) for service in self.fleet.stock)
        )

    async def update(self, definitions: Iterable[DefinitionContent]) -> ReleaseAnswer:
        """All of it; what the gateway says about its hold."""
        contents, request_id = list(definitions), f"d-{secrets.token_hex(4)}"
        answers = await self.prepare(contents, request_id)
        problems = {name: answer.problems for name, answer in answers.items() if not answer.prepared}
        assert not problems, problems
        classes = sorted({one.task_class_name for one in contents})
        hold = HoldRequest(request_id=request_id, classes=classes, seconds=10, expires=30)
        held = await self._post(GATEWAY, "hold", hold, HoldAnswer)
        assert held.held, held
        try:
            await self.activate(await self.commit(contents, request_id), request_id)
        finally:
            released = await self._post(GATEWAY, "release", ReleaseRequest(request_id=request_id), ReleaseAnswer)
        return released

    async def attestations(self) -> dict[str, Attestation]:
        """Service → what its agent says is live in it."""
        names = [service.name for service in self.fleet.stock]
        answers = await asyncio.gather(*(self.client.get(self._url(name, "attestation?detail=full")) for name in names))
        return {
            name: Attestation.model_validate_json(answer.content) for name, answer in zip(names, answers, strict=True)
        }

    async def census(self, name: str) -> Census:
        """What of former generations is alive in a service, after its garbage collector has run."""
        answer = await self.client.get(self._url(name, "census?collect=true"))
        return Census.model_validate_json(answer.content)

    async def until_ready(self, name: str, within: float = 20.0) -> Attestation:
        """Wait until a service that was started runs a release, or knows that there is none; what it says then."""
        async with asyncio.timeout(within):
            while True:
                with suppress(httpx.TransportError):
                    if (await self.client.get(self._url(name, "healthz"))).status_code == 200:
                        return (await self.attestations())[name]
                await asyncio.sleep(0.02)

    def _url(self, name: str, path: str) -> str:
        return f"http://{self.fleet[name].address}:{AGENT_PORT}{API_PREFIX}/{path}"

    async def _post(self, name: str, path: str, request: BaseModel, answer: type[A]) -> A:
        response = await self.client.post(self._url(name, path), json=request.model_dump(mode="json"))
        response.raise_for_status()
        return answer.model_validate_json(response.content)
