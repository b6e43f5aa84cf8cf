"""The custom resources as anybody sees them in the API server, without taskroll: to compare them byte for byte."""

import json
from typing import Any

from kubernetes.aio.client import ApiClient, CustomObjectsApi

GROUP = ("cornserve.ai", "v1")
DEFINITIONS = ("taskdefinitions", "executiondescriptors")

BOOKKEEPING = ("resourceVersion", "generation", "managedFields")
"""What the API server writes itself with each change. Everything else has to be the same, uid and creation time too."""


class CustomResources:
    """Those of one namespace."""

    def __init__(self, api: ApiClient, namespace: str) -> None:
        self._custom = CustomObjectsApi(api)
        self._namespace = namespace

    async def definitions(self) -> dict[str, bytes]:
        """All task definitions and descriptors, by kind and name, as bytes to compare."""
        found: dict[str, bytes] = {}
        for plural in DEFINITIONS:
            listed: Any = await self._custom.list_namespaced_custom_object(*GROUP, self._namespace, plural)
            for item in listed["items"]:
                for field in BOOKKEEPING:
                    item["metadata"].pop(field, None)
                found[f"{plural}/{item['metadata']['name']}"] = json.dumps(item, sort_keys=True).encode()
        return found

    async def register_instance(self, name: str, class_name: str, descriptor: str) -> None:
        """What the platform does when an app that uses the task is registered."""
        body = {
            "apiVersion": "/".join(GROUP),
            "kind": "UnitTaskInstance",
            "metadata": {"name": name},
            "spec": {"definitionRef": class_name, "config": {"dimensions": 4}, "executionDescriptorName": descriptor},
        }
        await self._custom.create_namespaced_custom_object(*GROUP, self._namespace, "unittaskinstances", body)

    async def unregister_instance(self, name: str) -> None:
        """What the platform does when the app is unregistered."""
        await self._custom.delete_namespaced_custom_object(*GROUP, self._namespace, "unittaskinstances", name)


def differences(before: dict[str, bytes], after: dict[str, bytes]) -> list[str]:
    """Names of the resources that are not the same, byte for byte."""
    return sorted(name for name in before.keys() | after.keys() if before.get(name) != after.get(name))
