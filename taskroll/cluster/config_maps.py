"""Compare-and-swap of the three small objects that change: release pointer, fence, head of the records."""

from __future__ import annotations

from collections.abc import Mapping

from .connection import Cluster
from .objects import KubeObject, create_object, find_object, replace_object
from .resources import CONFIG_MAP, field_manager
from .transport import JsonObject


async def read_config_map(cluster: Cluster, namespace: str, name: str) -> KubeObject | None:
    """The ConfigMap; None where it was never written."""
    return await find_object(cluster, CONFIG_MAP, namespace, name)


async def swap_config_map(
    cluster: Cluster,
    namespace: str,
    name: str,
    former: KubeObject | None,
    data: Mapping[str, str],
    *,
    request_id: str,
    recovery: str = "",
) -> None:
    """Write `data` if the ConfigMap still is `former` (None: does not exist).

    Raises:
        Conflict: where somebody wrote since.
        AlreadyExists: where somebody created it since.
    """
    manager = field_manager(request_id, recovery)
    if former is None:
        body: JsonObject = {"metadata": {"name": name}, "data": dict(data)}
        await create_object(cluster, CONFIG_MAP, namespace, body, manager=manager)
        return
    meta = {key: value for key, value in former.meta.items() if key != "managedFields"}
    await replace_object(cluster, CONFIG_MAP, namespace, {"metadata": meta, "data": dict(data)}, manager=manager)


def string_data(source: KubeObject) -> dict[str, str]:
    """Its ``data``."""
    return {key: str(value) for key, value in source.data.items()}
