"""Whether the API server enforces the fence: by its policies as installed, and by what it really refuses.

Only a refusal proves it. The API server learns of the fence by a watch, some milliseconds after it was written, and of
a policy within a second; a policy may be bound to warn only, or to leave out a namespace.
"""

from __future__ import annotations

import asyncio

from taskroll.models.errors import RefusedByCluster

from .connection import Cluster
from .errors import NotFound
from .objects import create_object, read_object
from .resources import ADMISSION_BINDING, ADMISSION_POLICY, UNIT_TASK_INSTANCE
from .transport import JsonObject

INSTANCE_POLICY = "taskroll-fence-instances"
POLICIES = (INSTANCE_POLICY, "taskroll-fence-definitions", "taskroll-state", "taskroll-writers")
"""Names of the policies and of their bindings, in ``deploy/admission``."""
INSTALL = "kubectl apply -k deploy/admission in a checkout of taskroll, or what taskroll doctor prints"
"""How to install them, for a message that is read on another machine than the one that wrote it."""

PROBES_AT_ONCE = 4
"""On as many connections: where several API servers stand behind one address, each connection may meet another."""
_PAUSE = 0.005


async def missing_policies(cluster: Cluster) -> list[str]:
    """Names of the policies that are not installed, or that these credentials may not see, sorted."""
    found = await asyncio.gather(*(_is_bound(cluster, name) for name in POLICIES))
    return sorted(name for name, is_bound in zip(POLICIES, found, strict=True) if not is_bound)


def in_words(missing: list[str]) -> str:
    """What `missing_policies` found, as a clause."""
    return f"admission policies are not installed, or not bound to deny: {', '.join(missing)}"


async def await_enforcement(cluster: Cluster, namespace: str, probe_class: str, *, within: float) -> bool:
    """Try to create instances of `probe_class`, in dry runs, until the API server refuses; return whether it did.

    Args:
        probe_class: Of the holder; see `Holder.probe_class`.
        within: Seconds. Without effect where the policy is not installed: then nothing is waited for.

    Raises:
        ClusterError: `Unavailable` (retryable).
    """
    deadline = asyncio.get_running_loop().time() + within
    may_come = False
    while True:
        probes = (_is_refused(cluster, namespace, probe_class) for _ in range(PROBES_AT_ONCE))
        if all(await asyncio.gather(*probes)):
            return True
        may_come = may_come or INSTANCE_POLICY not in await missing_policies(cluster)
        if not may_come or asyncio.get_running_loop().time() >= deadline:
            return False
        await asyncio.sleep(_PAUSE)


async def _is_refused(cluster: Cluster, namespace: str, probe_class: str) -> bool:
    body: JsonObject = {
        "metadata": {"name": "taskroll-fence-probe"},
        "spec": {"definitionRef": probe_class, "config": {}},
    }
    try:
        await create_object(cluster, UNIT_TASK_INSTANCE, namespace, body, manager="taskroll-probe", dry_run=True)
    except RefusedByCluster as error:
        # By this policy and for this class: not by RBAC, by another policy, or because this one could not be evaluated.
        return INSTANCE_POLICY in error.message and probe_class in error.message
    return False


async def _is_bound(cluster: Cluster, name: str) -> bool:
    try:
        _, binding = await asyncio.gather(
            read_object(cluster, ADMISSION_POLICY, None, name), read_object(cluster, ADMISSION_BINDING, None, name)
        )
    except (NotFound, RefusedByCluster):
        # Without the policies there is no right to read them either; an API server before 1.30 does not know the kind.
        return False
    return "Deny" in (binding.spec.get("validationActions") or [])
