"""Live instances of tasks: the platform's ``UnitTaskInstance`` objects."""

from __future__ import annotations

from collections.abc import Collection

from taskroll.models.plan import Instance

from .connection import Cluster
from .objects import list_objects
from .resources import UNIT_TASK_INSTANCE


async def list_instances(cluster: Cluster, namespace: str, task_classes: Collection[str]) -> list[Instance]:
    """Instances of these task classes, the oldest first.

    Instances that are being deleted count as live until they are gone: their finalizers still hold resources.
    """
    wanted = set(task_classes)
    found = [
        Instance(name=item.name, class_name=str(item.spec.get("definitionRef", "")), created_at=item.created_at)
        for item in await list_objects(cluster, UNIT_TASK_INSTANCE, namespace)
        # The platform refers to a definition by its class name, not by the name of its object.
        if item.spec.get("definitionRef") in wanted
    ]
    return sorted(found, key=lambda instance: (instance.created_at, instance.name))
