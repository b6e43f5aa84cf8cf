"""What the API server says of the credentials that examine it."""

from dataclasses import dataclass

from taskroll.cluster.connection import Cluster
from taskroll.cluster.resources import Resource
from taskroll.cluster.transport import Call, JsonObject

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


async def whoami(cluster: Cluster) -> User:
    user = (await _review(cluster, _SELF, {}))["status"]["userInfo"]
    return User(str(user["username"]), tuple(user.get("groups") or ()))


async def may(cluster: Cluster, namespace: str, verb: str, resource: Resource, name: str = "") -> bool:
    """Whether RBAC lets them; an admission policy may still refuse it."""
    group, _, _ = resource.api_version.rpartition("/")
    attributes: JsonObject = {
        "namespace": namespace,
        "verb": verb,
        "group": group,
        "resource": resource.plural,
        "name": name,
    }
    answer = await _review(cluster, _ACCESS, {"spec": {"resourceAttributes": attributes}})
    return bool(answer["status"].get("allowed"))


async def _review(cluster: Cluster, resource: Resource, body: JsonObject) -> JsonObject:
    full = {"apiVersion": resource.api_version, "kind": resource.kind, **body}
    return await cluster.send(Call("create", resource.path(None), resource.kind, body=full))
