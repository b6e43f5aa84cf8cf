"""Apply the manifests of ``deploy/``: what ``kubectl apply -k`` does, for the dev stack, the demo and the tests."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any, cast

import yaml

from .bounded import run_bounded
from .connection import Cluster
from .errors import NotFound, Unavailable, UnknownResource
from .objects import apply_object, list_objects, read_object
from .rereading import rereading
from .resources import ADMISSION_BINDING, ADMISSION_POLICY, CRD, NAMESPACE, Resource
from .transport import Call, JsonObject

MANAGER = "taskroll-install"
FOLDERS = ("crds", "crds/cornserve", "rbac", "admission")
DEV_FOLDERS = (*FOLDERS, "rbac/dev")
"""With the rights of the dev stack's users."""

_RESOURCES: dict[str, Resource] = {
    "CustomResourceDefinition": CRD,
    "Namespace": NAMESPACE,
    "ServiceAccount": Resource("v1", "ServiceAccount", "serviceaccounts"),
    "Role": Resource("rbac.authorization.k8s.io/v1", "Role", "roles"),
    "RoleBinding": Resource("rbac.authorization.k8s.io/v1", "RoleBinding", "rolebindings"),
    "ClusterRole": Resource("rbac.authorization.k8s.io/v1", "ClusterRole", "clusterroles", namespaced=False),
    "ClusterRoleBinding": Resource(
        "rbac.authorization.k8s.io/v1", "ClusterRoleBinding", "clusterrolebindings", namespaced=False
    ),
    "ValidatingAdmissionPolicy": ADMISSION_POLICY,
    "ValidatingAdmissionPolicyBinding": ADMISSION_BINDING,
    "LatestTasklibRV": Resource("cornserve.ai/v1", "LatestTasklibRV", "latesttasklibrvs"),
}


def deploy_folder() -> Path:
    """Where the manifests are: ``deploy/`` of a checkout, or the copy that the wheel brings along.

    Raises:
        FileNotFoundError: where neither is there.
    """
    candidates = (Path(__file__).parents[2] / "deploy", Path(__file__).parent / "_deploy")
    for folder in candidates:
        if (folder / "crds" / "kustomization.yaml").exists():
            return folder
    raise FileNotFoundError(f"no manifests at {' or '.join(str(folder) for folder in candidates)}")


def load_manifests(folder: Path) -> list[JsonObject]:
    """The objects that a kustomization lists, in its order. Only ``resources`` is understood, files and folders."""
    content = cast("dict[str, Any]", yaml.safe_load((folder / "kustomization.yaml").read_bytes()))
    found: list[JsonObject] = []
    for entry in cast("list[str]", content.get("resources") or []):
        path = folder / entry
        if path.is_dir():
            found += load_manifests(path)
        else:
            found += [cast(JsonObject, item) for item in yaml.safe_load_all(path.read_bytes()) if item]
    return found


async def install(
    cluster: Cluster, namespace: str, *, folders: tuple[str, ...] = FOLDERS, within: float = 60.0
) -> None:
    """Create the namespace, install the CRDs, wait until they are served, apply the rest. Can be repeated.

    Args:
        cluster: The API server, with an administrator's rights.
        namespace: Where namespaced objects go.
        folders: Parts of ``deploy/`` to install; without ``crds/cornserve`` where the platform is installed.
        within: Seconds to wait for the CRDs.

    Raises:
        ClusterError: `Unavailable` where the CRDs are not served in time.
    """
    root = deploy_folder()
    manifests = [item for folder in folders for item in load_manifests(root / folder)]
    crds = [item for item in manifests if item["kind"] == CRD.kind]
    await ensure_namespace(cluster, namespace)
    await run_bounded(crds, lambda item: _apply(cluster, namespace, item))
    try:
        async with asyncio.timeout(within):
            await run_bounded(crds, lambda item: _wait_until_served(cluster, item))
    except TimeoutError as error:
        call = Call("list", "", CRD.kind)
        raise Unavailable(call, f"the new CRDs are not served after {within:g} s") from error
    for item in manifests:
        if item["kind"] != CRD.kind:
            await _apply(cluster, namespace, item)


async def ensure_namespace(cluster: Cluster, namespace: str) -> None:
    """Create the namespace where it is not there."""
    try:
        await read_object(cluster, NAMESPACE, None, namespace)
    except NotFound:
        await apply_object(cluster, NAMESPACE, None, _manifest(NAMESPACE, namespace), manager=MANAGER)


async def _apply(cluster: Cluster, namespace: str, manifest: JsonObject) -> None:
    resource = _RESOURCES[manifest["kind"]]
    item = {**manifest, "metadata": {**manifest["metadata"]}}
    if resource.namespaced:
        item["metadata"]["namespace"] = namespace
    if subjects := cast("list[JsonObject] | None", item.get("subjects")):
        # As kustomize's namespace field does: the bindings point at the service account in the same namespace.
        item["subjects"] = [
            {**subject, "namespace": namespace} if subject.get("kind") == "ServiceAccount" else subject
            for subject in subjects
        ]
    place = namespace if resource.namespaced else None
    # Two installs at once may conflict inside the API server.
    await rereading(lambda: apply_object(cluster, resource, place, item, manager=MANAGER))


async def _wait_until_served(cluster: Cluster, crd: JsonObject) -> None:
    # «Established» comes before the server answers lists; watchers that begin in between get 429 and sleep for 5 s.
    spec = cast(JsonObject, crd["spec"])
    version = next(item["name"] for item in spec["versions"] if item["served"])
    served = Resource(f"{spec['group']}/{version}", spec["names"]["kind"], spec["names"]["plural"])
    while not await _is_served(cluster, str(crd["metadata"]["name"]), served):  # noqa: ASYNC110 - a poll of a server
        await asyncio.sleep(0.05)


async def _is_served(cluster: Cluster, name: str, served: Resource) -> bool:
    crd = await read_object(cluster, CRD, None, name)
    conditions = cast("list[JsonObject]", crd.status.get("conditions") or [])
    if not any(item.get("type") == "Established" and item.get("status") == "True" for item in conditions):
        return False
    try:
        await list_objects(cluster, served, None)
    except (UnknownResource, Unavailable):
        return False
    return True


def _manifest(resource: Resource, name: str) -> JsonObject:
    return {"apiVersion": resource.api_version, "kind": resource.kind, "metadata": {"name": name}}
