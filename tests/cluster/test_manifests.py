"""The manifests of deploy/: complete, applied as kustomize would, and granting just what each part needs."""

from __future__ import annotations

import shutil
import uuid
from pathlib import Path
from typing import Any

import pytest
import yaml

from taskroll.cluster import manifests
from taskroll.cluster.errors import Forbidden, Invalid
from taskroll.cluster.manifests import deploy_folder, ensure_namespace, install, load_manifests
from taskroll.cluster.objects import create_object, list_objects
from taskroll.cluster.resources import CRD, DEFINITION_RESOURCES, LATEST_TASKLIB_RV, TASK_UPDATE, UNIT_TASK_INSTANCE
from taskroll.cluster.transport import Call

DEPLOY = Path(__file__).parents[2] / "deploy"


def _all_listed(folder: Path) -> set[Path]:
    found: set[Path] = set()
    for entry in yaml.safe_load((folder / "kustomization.yaml").read_text())["resources"]:
        path = (folder / entry).resolve()
        found |= _all_listed(path) if path.is_dir() else {path}
    return found


def test_each_manifest_is_listed_in_a_kustomization():
    for part in (DEPLOY / "crds", DEPLOY / "rbac", DEPLOY / "admission"):
        present = {path for path in part.rglob("*.yaml") if path.name != "kustomization.yaml"}
        listed = {path for folder in part.rglob("kustomization.yaml") for path in _all_listed(folder.parent)}
        assert present == listed


def test_each_object_has_a_kind_that_install_knows_and_says_no_namespace_of_its_own():
    for folder in manifests.DEV_FOLDERS:
        for item in load_manifests(DEPLOY / folder):
            assert item["kind"] in manifests._RESOURCES
            assert "namespace" not in item["metadata"]


def test_the_manifests_are_found_in_a_checkout_and_in_a_wheel(tmp_path, monkeypatch):
    assert deploy_folder() == DEPLOY
    installed = tmp_path / "site-packages" / "taskroll" / "cluster"
    installed.mkdir(parents=True)
    monkeypatch.setattr(manifests, "__file__", str(installed / "manifests.py"))
    with pytest.raises(FileNotFoundError, match="no manifests at"):
        deploy_folder()
    shutil.copytree(DEPLOY, installed / "_deploy")
    assert deploy_folder() == installed / "_deploy"


async def test_installing_twice_is_as_good_as_once(admin):
    namespace = f"cluster-{uuid.uuid4().hex[:10]}"
    for _ in range(2):
        await install(admin, namespace, folders=manifests.DEV_FOLDERS)
        await ensure_namespace(admin, namespace)
        for resource in (*DEFINITION_RESOURCES.values(), UNIT_TASK_INSTANCE, LATEST_TASKLIB_RV, TASK_UPDATE):
            assert await list_objects(admin, resource, namespace) == []


SPECS: dict[str, tuple[Any, dict[str, Any]]] = {
    "TaskDefinition": (
        DEFINITION_RESOURCES["TaskDefinition"],
        {"taskClassName": "A", "moduleName": "a", "sourceCode": "", "isUnitTask": True},
    ),
    "ExecutionDescriptor": (
        DEFINITION_RESOURCES["ExecutionDescriptor"],
        {"taskClassName": "A", "descriptorClassName": "D", "moduleName": "a", "sourceCode": ""},
    ),
    "UnitTaskInstance": (UNIT_TASK_INSTANCE, {"definitionRef": "A", "config": {}}),
    "LatestTasklibRV": (LATEST_TASKLIB_RV, {"maxTaskClassRV": 1, "maxDescriptorRV": 1}),
    "TaskUpdate": (
        TASK_UPDATE,
        {
            "requestDigest": "x",
            "workflowId": "w",
            "requestedBy": "ann",
            "origin": "update",
            "startedAt": "2026-05-04T12:00:00Z",
        },
    ),
}


@pytest.mark.parametrize("kind", SPECS)
async def test_each_required_field_is_required_and_no_other_is_taken(lab, kind):
    resource, spec = SPECS[kind]

    async def create(changed: dict[str, Any]) -> None:
        body = {"metadata": {"name": "x"}, "spec": changed}
        await create_object(lab.admin, resource, lab.namespace, body, manager="me", dry_run=True)

    await create(spec)
    for field in spec:
        with pytest.raises(Invalid, match=field):
            await create({name: value for name, value in spec.items() if name != field})
    with pytest.raises(Invalid, match="unknown field"):
        await create({**spec, "colour": "green"})


# who may do what

REVISIONS = ("apps", "controllerrevisions")
POINTER = ("", "configmaps", "taskroll-release")
FENCE = ("", "configmaps", "taskroll-fence")
HEAD = ("", "configmaps", "taskroll-record-head")
OTHER_MAP = ("", "configmaps", "app-settings")
TASKS = ("cornserve.ai", "taskdefinitions")
DESCRIPTORS = ("cornserve.ai", "executiondescriptors")
INSTANCES = ("cornserve.ai", "unittaskinstances")
UPDATES = ("taskroll.dev", "taskupdates")
SECRETS = ("", "secrets")

RIGHTS = {
    "taskroll": {
        REVISIONS: "get list watch create",
        POINTER: "get list watch update",
        FENCE: "get list watch update",
        HEAD: "get list watch update",
        OTHER_MAP: "",
        TASKS: "get list watch create update patch delete",
        DESCRIPTORS: "get list watch create update patch delete",
        INSTANCES: "get list watch create",
        UPDATES: "get list watch create update",
        SECRETS: "",
    },
    "taskroll-agent": {
        REVISIONS: "get",
        POINTER: "get list watch",
        FENCE: "",
        HEAD: "",
        OTHER_MAP: "",
        TASKS: "",
        DESCRIPTORS: "",
        INSTANCES: "",
        UPDATES: "",
        SECRETS: "",
    },
    "developer": {
        REVISIONS: "get list watch create",
        POINTER: "get list watch",
        FENCE: "get list watch",
        HEAD: "get list watch",
        OTHER_MAP: "",
        TASKS: "get list watch",
        DESCRIPTORS: "get list watch",
        INSTANCES: "get list watch",
        UPDATES: "get list watch",
        SECRETS: "",
    },
}


@pytest.mark.parametrize("who", RIGHTS)
async def test_each_part_may_do_what_it_needs_and_no_more(admin, until_permitted, who):
    namespace = f"cluster-{uuid.uuid4().hex[:10]}"
    await install(admin, namespace, folders=("rbac",))
    subject: dict[str, Any] = (
        {"user": "developer", "groups": ["taskroll:developers"]}
        if who == "developer"
        else {"user": f"system:serviceaccount:{namespace}:{who}"}
    )

    async def may(verb: str, group: str, resource: str, name: str = "") -> bool:
        attributes = {"namespace": namespace, "verb": verb, "group": group, "resource": resource, "name": name}
        review = Call(
            "create",
            "/apis/authorization.k8s.io/v1/subjectaccessreviews",
            "SubjectAccessReview",
            body={
                "apiVersion": "authorization.k8s.io/v1",
                "kind": "SubjectAccessReview",
                "spec": {**subject, "resourceAttributes": attributes},
            },
        )
        return bool((await admin.send(review))["status"]["allowed"])

    async def installed() -> None:
        if not await may("get", *REVISIONS):
            raise Forbidden(Call("read", "", "Role"), "not yet")

    await until_permitted(installed)
    verbs = ["get", "list", "watch", "create", "update", "patch", "delete", "deletecollection"]
    found = {}
    for target in RIGHTS[who]:
        granted = [verb for verb in verbs if await may(verb, *target)]
        # A create of a ConfigMap cannot be bound to names.
        if target[1] == "configmaps" and who == "taskroll":
            granted.remove("create")
        found[target] = " ".join(granted)
    assert found == RIGHTS[who]


async def test_a_crd_that_is_not_served_in_time_is_said(admin, monkeypatch):
    async def never(*_arguments) -> bool:
        return False

    monkeypatch.setattr(manifests, "_is_served", never)
    with pytest.raises(Exception, match=r"the new CRDs are not served after 0\.1 s") as caught:
        await install(admin, "taskroll-tests", folders=("crds",), within=0.1)
    assert caught.value.retryable
    assert caught.value.kind == CRD.kind
