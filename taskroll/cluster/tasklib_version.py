"""The platform's own pointer, ``LatestTasklibRV``: which resourceVersions a service has to have seen."""

from __future__ import annotations

from typing import Literal

from .connection import Cluster
from .errors import UnknownResource
from .objects import KubeObject, create_object, find_object, list_objects, replace_object
from .rereading import rereading
from .resources import EXECUTION_DESCRIPTOR, LATEST_TASKLIB_RV, TASK_DEFINITION, Resource, field_manager

SINGLETON = "latest-tasklib-rv"


async def advance_tasklib_version(
    cluster: Cluster, namespace: str, *, request_id: str
) -> Literal["advanced", "already", "absent"]:
    """Set it to the highest resourceVersion of the live definitions; never back.

    ``absent``: the platform has no such kind (Cornserve before its head of April 2026), and nothing is to be done.
    """

    async def attempt() -> Literal["advanced", "already", "absent"]:
        try:
            current = await find_object(cluster, LATEST_TASKLIB_RV, namespace, SINGLETON)
        except UnknownResource:
            return "absent"
        old = current.spec if current else {}
        spec = {
            "maxTaskClassRV": max(
                int(old.get("maxTaskClassRV", 0)), await _highest(cluster, namespace, TASK_DEFINITION)
            ),
            "maxDescriptorRV": max(
                int(old.get("maxDescriptorRV", 0)), await _highest(cluster, namespace, EXECUTION_DESCRIPTOR)
            ),
        }
        if current is not None and spec == old:
            return "already"
        await _write(cluster, namespace, current, spec, request_id)
        return "advanced"

    return await rereading(attempt)


async def _write(
    cluster: Cluster, namespace: str, current: KubeObject | None, spec: dict[str, int], request_id: str
) -> None:
    manager = field_manager(request_id)
    if current is None:
        body = {"metadata": {"name": SINGLETON}, "spec": spec}
        await create_object(cluster, LATEST_TASKLIB_RV, namespace, body, manager=manager)
        return
    meta = {key: value for key, value in current.meta.items() if key != "managedFields"}
    await replace_object(cluster, LATEST_TASKLIB_RV, namespace, {"metadata": meta, "spec": spec}, manager=manager)


async def _highest(cluster: Cluster, namespace: str, resource: Resource) -> int:
    # Opaque to clients by contract, but the platform itself compares them as integers.
    versions = [item.resource_version for item in await list_objects(cluster, resource, namespace)]
    return max((int(version) for version in versions if version.isdecimal()), default=0)
