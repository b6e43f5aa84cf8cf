"""What somebody with kubectl does to the platform's objects, past taskroll and past the gateway."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from kubernetes.aio.client import ApiClient, CustomObjectsApi

from taskroll_agent.contracts import DefinitionContent

_GROUP = ("cornserve.ai", "v1")
_PLURALS = {"TaskDefinition": "taskdefinitions", "ExecutionDescriptor": "executiondescriptors"}
_MERGE = "application/merge-patch+json"


@dataclass
class Administrator:
    """Writes definitions one by one, as `kubectl` does."""

    api: ApiClient
    namespace: str

    @property
    def _custom(self) -> CustomObjectsApi:
        return CustomObjectsApi(self.api)

    async def create(self, content: DefinitionContent) -> None:
        body = {
            "apiVersion": "/".join(_GROUP),
            "kind": content.kind,
            "metadata": {"name": content.name},
            "spec": content.spec,
        }
        await self._custom.create_namespaced_custom_object(*_GROUP, self.namespace, _PLURALS[content.kind], body)

    async def patch(self, content: DefinitionContent) -> None:
        """Give a definition this spec."""
        await self._patch(content, {"spec": content.spec})

    async def annotate(self, content: DefinitionContent, **annotations: str) -> None:
        """Change a definition's annotations and nothing else."""
        await self._patch(content, {"metadata": {"annotations": annotations}})

    async def delete(self, content: DefinitionContent) -> None:
        where = (*_GROUP, self.namespace, _PLURALS[content.kind], content.name)
        await self._custom.delete_namespaced_custom_object(*where)

    async def instances(self) -> list[str]:
        """Names of all UnitTaskInstances."""
        found: Any = await self._custom.list_namespaced_custom_object(*_GROUP, self.namespace, "unittaskinstances")
        return [item["metadata"]["name"] for item in found["items"]]

    async def _patch(self, content: DefinitionContent, body: Any) -> None:
        where = (*_GROUP, self.namespace, _PLURALS[content.kind], content.name)
        await self._custom.patch_namespaced_custom_object(*where, body, _content_type=_MERGE)
