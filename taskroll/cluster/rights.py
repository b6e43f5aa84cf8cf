"""What the API server lets these credentials do, by its own word."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from typing import cast

from .bounded import run_bounded
from .connection import Cluster
from .manifests import deploy_folder, load_manifests
from .resources import Resource
from .transport import Call, JsonObject

_ACCESS = Resource("authorization.k8s.io/v1", "SelfSubjectAccessReview", "selfsubjectaccessreviews", namespaced=False)
_SELF = Resource("authentication.k8s.io/v1", "SelfSubjectReview", "selfsubjectreviews", namespaced=False)


@dataclass(frozen=True)
class User:
    """Who asks, as the API server knows them."""

    name: str
    groups: tuple[str, ...]

    def is_taskroll(self, namespace: str) -> bool:
        """Whether the admission policies take them for taskroll itself."""
        return self.name == f"system:serviceaccount:{namespace}:taskroll" or "taskroll:system" in self.groups


@dataclass(frozen=True)
class Right:
    """One verb on one kind of object, or on one object.

    Attributes:
        group: Of the API; empty for the core.
        resource: Plural, with ``/status`` for that subresource.
        verb: As RBAC has it.
        name: Of the object; empty for all.
    """

    group: str
    resource: str
    verb: str
    name: str = ""

    def __str__(self) -> str:
        return f"{self.verb} {self.resource}" + (f"/{self.name}" if self.name else "")


@cache
def rights_of_worker() -> tuple[Right, ...]:
    """What the role ``taskroll-worker`` in ``deploy/rbac`` grants."""
    rules = [rule for role in load_manifests(deploy_folder() / "rbac" / "worker-role") for rule in role["rules"]]
    return tuple(right for rule in rules for right in _rights_in(cast(JsonObject, rule)))


def _rights_in(rule: JsonObject) -> Iterable[Right]:
    for group in rule["apiGroups"]:
        for resource in rule["resources"]:
            for verb in rule["verbs"]:
                # A list cannot be asked about by name: it works with a field selector on that name alone.
                for name in rule.get("resourceNames") or [""]:
                    yield Right(group, resource, verb, name)


async def whoami(cluster: Cluster) -> User:
    """The user that these credentials stand for."""
    user = (await _review(cluster, _SELF, {}))["status"]["userInfo"]
    return User(str(user["username"]), tuple(user.get("groups") or ()))


async def may(cluster: Cluster, namespace: str, right: Right) -> bool:
    """Whether the API server's authorizer grants it; an admission policy may still refuse the call."""
    resource, _, subresource = right.resource.partition("/")
    attributes: JsonObject = {
        "namespace": namespace,
        "verb": right.verb,
        "group": right.group,
        "resource": resource,
        "subresource": subresource,
        "name": right.name,
    }
    answer = await _review(cluster, _ACCESS, {"spec": {"resourceAttributes": attributes}})
    return bool(answer["status"].get("allowed"))


async def lacking_rights(cluster: Cluster, namespace: str, rights: Iterable[Right]) -> list[Right]:
    """Those of the rights that are not granted, in their order."""
    asked = list(rights)
    granted = await run_bounded(asked, lambda right: may(cluster, namespace, right))
    return [right for right, is_granted in zip(asked, granted, strict=True) if not is_granted]


async def worker_lacks(cluster: Cluster, namespace: str) -> list[str]:
    """What of the worker's role these credentials, the worker's own, do not have."""
    rights = await asyncio.to_thread(rights_of_worker)
    return [str(right) for right in await lacking_rights(cluster, namespace, rights)]


async def _review(cluster: Cluster, resource: Resource, body: JsonObject) -> JsonObject:
    full = {"apiVersion": resource.api_version, "kind": resource.kind, **body}
    return await cluster.send(Call("create", resource.path(None), resource.kind, body=full))
