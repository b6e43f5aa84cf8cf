"""The same update by a script without taskroll: the bare calls to API server and agents, side by side in each step.

What it leaves out is what makes an update one: no fence, no plan, no record, no retry, nothing is taken back.
"""

import asyncio
import base64
import json
import ssl
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import aiohttp
import yaml

from taskroll.devstack import StackInfo
from taskroll.devstack.info import TASKROLL
from taskroll_agent.contracts import (
    API_PREFIX,
    POINTER_NAME,
    DefinitionContent,
    Release,
    ReleaseEntry,
    ReleasePointer,
    release_name,
    revision_name,
)

from .hosted_replicas import SERVICE
from .replica_host import PORT

DEFINITIONS = "/apis/cornserve.ai/v1/namespaces/{}/taskdefinitions"
DESCRIPTORS = "/apis/cornserve.ai/v1/namespaces/{}/executiondescriptors"
INSTANCES = "/apis/cornserve.ai/v1/namespaces/{}/unittaskinstances"
TASKLIB_VERSION = "/apis/cornserve.ai/v1/namespaces/{}/latesttasklibrvs/latest-tasklib-rv"
REVISIONS = "/apis/apps/v1/namespaces/{}/controllerrevisions"
CONFIG_MAPS = "/api/v1/namespaces/{}/configmaps"
PODS = "/api/v1/namespaces/{}/pods"


@dataclass
class Counts:
    """Calls that were made."""

    api: int = 0
    agents: int = 0


class BareScript:
    """One HTTP session for all calls; use it as an async context manager."""

    def __init__(self, stack: StackInfo, namespace: str, agent_token: str) -> None:
        kubeconfig: dict[str, Any] = yaml.safe_load(stack.kubeconfig.read_text())
        # Only taskroll may move the release pointer, also where a script does it.
        users: list[dict[str, Any]] = kubeconfig["users"]
        self._kube_token: str = next(user["user"]["token"] for user in users if user["name"] == TASKROLL)
        self._kube_url = stack.kube_url
        self._authority = kubeconfig["clusters"][0]["cluster"]["certificate-authority-data"]
        self._agent_token = agent_token
        self._namespace = namespace
        self.counts = Counts()

    async def __aenter__(self) -> "BareScript":
        context = ssl.create_default_context(cadata=_decoded(self._authority))
        # As many connections as taskroll's worker would open to agents; the API server takes them over one or two.
        self._session = aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=128, ssl=context))
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._session.close()

    async def update(self, request_id: str, contents: list[DefinitionContent]) -> None:
        """Change these definitions on every replica, and check that it has come to pass.

        Raises:
            aiohttp.ClientResponseError: for any answer that is an error.
            RuntimeError: where a replica does not do as it is told.
        """
        live, pods = await asyncio.gather(self._items(DEFINITIONS), self._items(PODS, labelSelector=f"app={SERVICE}"))
        objects = {item["metadata"]["name"]: item for item in live}
        bodies = [{**objects[content.name], "spec": content.spec} for content in contents]
        await asyncio.gather(*(self._replace(body, dryRun="All") for body in bodies))
        if await self._items(INSTANCES):
            raise RuntimeError("instances live")
        await asyncio.gather(*(self._create_revision(content, request_id) for content in contents))
        addresses = [pod["status"]["podIP"] for pod in pods]
        digests = {str(content.key): content.digest() for content in contents}
        prepared = await self._ask(addresses, "prepare", {"request_id": request_id, "definitions": digests})
        if not all(answer["prepared"] for answer in prepared):
            raise RuntimeError("a replica could not prepare")
        await asyncio.gather(*(self._replace(body) for body in bodies))
        await self._advance_tasklib_version()
        pointer = await self._commit(request_id, digests)
        await self._ask(addresses, "activate", pointer.model_dump())
        attested = await self._ask(addresses, "attestation", None)
        wrong = [answer["pod"] for answer in attested if answer["content_digest"] != pointer.content_digest]
        if wrong:
            raise RuntimeError(f"{wrong} do not run it")

    async def patch_definitions(self, contents: Iterable[DefinitionContent]) -> None:
        """Change the custom resources, and nothing else: what people do today."""
        objects = {item["metadata"]["name"]: item for item in await self._items(DEFINITIONS)}
        await asyncio.gather(*(self._replace({**objects[c.name], "spec": c.spec}) for c in contents))

    async def _commit(self, request_id: str, digests: dict[str, str]) -> ReleasePointer:
        current = await self._api("GET", f"{CONFIG_MAPS}/{POINTER_NAME}")
        former = ReleasePointer.from_data(current["data"])
        stored = await self._api("GET", f"{REVISIONS}/{former.release}")
        before = Release.model_validate(stored["data"])
        release = before.model_copy(
            update={
                "epoch": before.epoch + 1,
                "request_id": request_id,
                "previous": former.release,
                "created_at": datetime.now(UTC),
                "definitions": before.definitions | {key: ReleaseEntry(digest=d) for key, d in digests.items()},
            }
        )
        name = release_name(release.epoch, request_id)
        await self._create_document("release", name, release.model_dump(mode="json"), request_id, release.epoch)
        pointer = ReleasePointer(
            epoch=release.epoch, release=name, request_id=request_id, content_digest=release.content_digest()
        )
        await self._api("PUT", f"{CONFIG_MAPS}/{POINTER_NAME}", body={**current, "data": pointer.data()})
        return pointer

    async def _advance_tasklib_version(self) -> None:
        current, tasks, descriptors = await asyncio.gather(
            self._api("GET", TASKLIB_VERSION), self._items(DEFINITIONS), self._items(DESCRIPTORS)
        )
        spec = {
            name: max((int(item["metadata"]["resourceVersion"]) for item in items), default=0)
            for name, items in (("maxTaskClassRV", tasks), ("maxDescriptorRV", descriptors))
        }
        await self._api("PUT", TASKLIB_VERSION, body={**current, "spec": spec})

    async def _create_revision(self, content: DefinitionContent, request_id: str) -> None:
        name = revision_name(content.key, content.digest())
        await self._create_document("definition", name, content.model_dump(mode="json"), request_id, 1)

    async def _create_document(self, kind: str, name: str, data: Any, request_id: str, revision: int) -> None:
        labels = {"taskroll.dev/type": kind, "taskroll.dev/request": request_id}
        body = {
            "apiVersion": "apps/v1",
            "kind": "ControllerRevision",
            "metadata": {"name": name, "labels": labels},
            "data": data,
            "revision": revision,
        }
        await self._api("POST", REVISIONS, body=body)

    async def _replace(self, body: dict[str, Any], **query: str) -> None:
        await self._api("PUT", f"{DEFINITIONS}/{body['metadata']['name']}", body=body, **query)

    async def _items(self, path: str, **query: str) -> list[dict[str, Any]]:
        listed = await self._api("GET", path, **query)
        kind = listed["kind"].removesuffix("List")
        # Items of a list do not say what they are; a write has to.
        return [{"apiVersion": listed["apiVersion"], "kind": kind, **item} for item in listed["items"]]

    async def _api(self, method: str, path: str, *, body: Any = None, **query: str) -> Any:
        self.counts.api += 1
        async with self._session.request(
            method,
            self._kube_url + path.format(self._namespace),
            json=body,
            params=query,
            headers={"Authorization": f"Bearer {self._kube_token}"},
        ) as response:
            if response.status >= 400:
                raise RuntimeError(f"{method} {path}: {response.status} {await response.text()}")
            return await response.json()

    async def _ask(self, addresses: list[str], call: str, body: Any) -> list[Any]:
        return await asyncio.gather(*(self._agent(address, call, body) for address in addresses))

    async def _agent(self, address: str, call: str, body: Any) -> Any:
        self.counts.agents += 1
        async with self._session.request(
            "GET" if body is None else "POST",
            f"http://{address}:{PORT}{API_PREFIX}/{call}",
            data=None if body is None else json.dumps(body),
            headers={"Authorization": f"Bearer {self._agent_token}"},
        ) as response:
            response.raise_for_status()
            return await response.json()


def _decoded(certificate: str) -> str:
    return base64.b64decode(certificate).decode()
