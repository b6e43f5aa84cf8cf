"""``taskroll doctor``: situation → what it says and which command it prints → that command mends it."""

import base64
import shutil
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from kubernetes.aio import config as kube_config
from kubernetes.aio.client import ApiClient, AppsV1Api, CoreV1Api, CustomObjectsApi, RbacAuthorizationV1Api

from starter.client import TaskrollClient
from taskroll.cluster.connection import Cluster
from taskroll.cluster.fence import raise_fence
from taskroll.cluster.fence_state import FENCE_NAME, FenceEntry
from taskroll.cluster.kubeconfig import ClusterSettings
from taskroll.cluster.releases import current_release
from taskroll.devstack import StackInfo
from taskroll.models.decision import AbortInput
from taskroll_agent.contracts import POINTER_NAME, DefinitionKey, revision_name
from tests.around_policies import around_policies

from .place import Place, Ran

Package = Callable[..., Path]

ECHO = "TaskDefinition/echo"
HAND_MADE = "from probe_base import Unit\n\n\nclass Echo(Unit):\n    VERSION = 'by hand'\n"


@dataclass
class Scene:
    """A namespace in which version 1 of two tasks was released, and what somebody does to it."""

    place: Place
    package: Package
    api: ApiClient
    taskroll: Cluster
    around: ApiClient
    """Of somebody whom the admission policies let pass."""

    @property
    def namespace(self) -> str:
        return self.place.settings.namespace

    async def patch_state(self, name: str, data: dict[str, str]) -> None:
        """Edit a ConfigMap that is taskroll's own."""
        body = {"data": data}
        await CoreV1Api(self.around).patch_namespaced_config_map(
            name, self.namespace, body, _content_type="application/merge-patch+json"
        )

    async def echo_revision(self) -> str:
        release = await current_release(self.taskroll, self.namespace)
        assert release is not None
        return revision_name(DefinitionKey.parse(ECHO), release.definitions[ECHO].digest)


@pytest.fixture
async def scene(place: Place, package: Package, stack: StackInfo) -> Any:
    settings = ClusterSettings(kubeconfig=str(stack.kubeconfig), context="taskroll")
    api = await kube_config.new_client_from_config(str(stack.kubeconfig), context="admin")
    async with await Cluster.connect(settings) as cluster, around_policies(stack) as around:
        yield Scene(place, package, api, cluster, vars(around.transport)["_client"])
    await api.close()


# What somebody does


async def nothing(scene: Scene) -> None:
    await scene.place.deployed(scene.package(1, tasks=("Echo", "Shout")))


async def never_taskroll(scene: Scene) -> None:
    await scene.place.put_by_hand(scene.package(1, tasks=("Echo", "Shout")))


async def edit(scene: Scene) -> None:
    await nothing(scene)
    await scene.place.edit_by_hand("echo", HAND_MADE)


async def delete(scene: Scene) -> None:
    await nothing(scene)
    await scene.place.delete_definition("shout")


async def add(scene: Scene) -> None:
    await scene.place.deployed(scene.package(1))
    await scene.place.put_by_hand(scene.package(1, tasks=("Shout",)))


async def lose_revision(scene: Scene) -> None:
    await nothing(scene)
    await AppsV1Api(scene.api).delete_namespaced_controller_revision(await scene.echo_revision(), scene.namespace)


async def lose_revision_and_edit(scene: Scene) -> None:
    await lose_revision(scene)
    await scene.place.edit_by_hand("echo", HAND_MADE)


async def forge_revision(scene: Scene) -> None:
    await nothing(scene)
    apps, name = AppsV1Api(scene.api), await scene.echo_revision()
    revision: Any = await apps.read_namespaced_controller_revision(name, scene.namespace)
    await apps.delete_namespaced_controller_revision(name, scene.namespace)
    forged = {"metadata": {"name": name, "labels": revision.metadata.labels}, "data": revision.data, "revision": 1}
    forged["data"]["spec"]["sourceCode"] = base64.b64encode(b"class Echo: ...\n").decode()
    await apps.create_namespaced_controller_revision(scene.namespace, forged)


async def two_releases(scene: Scene) -> None:
    await nothing(scene)
    await scene.place.deployed(scene.package(2, tasks=("Echo", "Shout")))


async def edit_pointer(scene: Scene) -> None:
    await two_releases(scene)
    await scene.patch_state(POINTER_NAME, {"epoch": "9", "by": "hand"})


async def delete_pointer(scene: Scene) -> None:
    await two_releases(scene)
    await CoreV1Api(scene.around).delete_namespaced_config_map(POINTER_NAME, scene.namespace)


async def edit_fence(scene: Scene) -> None:
    await nothing(scene)
    await scene.patch_state(FENCE_NAME, {"class.Echo": "somebody"})


async def leave_fence(scene: Scene) -> None:
    await scene.place.deployed(scene.package(1), "ended")
    entry = FenceEntry(request_id="ended", exclusive=[ECHO], task_classes=["Echo"])
    await raise_fence(scene.taskroll, scene.namespace, entry, datetime.now(UTC))


async def leak_instance(scene: Scene) -> None:
    await nothing(scene)
    await scene.place.create_instance("Echo", "known")
    await scene.place.create_instance("LongGone", "leaked")


async def alter_record(scene: Scene) -> None:
    await scene.place.deployed(scene.package(1), "one")
    body = {"status": {"message": "nothing happened"}}
    await CustomObjectsApi(scene.around).patch_namespaced_custom_object_status(
        "taskroll.dev", "v1", scene.namespace, "taskupdates", "one", body, _content_type="application/merge-patch+json"
    )


async def split_module(scene: Scene) -> None:
    folder = scene.package(1)
    (folder / "echo.py").write_text(HAND_MADE + "\n\nclass Shout(Unit): ...\n")
    await scene.place.deployed(folder)
    await scene.place.edit_by_hand("echo", HAND_MADE + "\n\nclass Shout(Unit): ...\n\n# one of two\n")


@dataclass(frozen=True)
class Situation:
    """One row: what was done, the finding that it gives, and the command that mends it, by its place in the finding."""

    done: Callable[[Scene], Awaitable[None]]
    check: str
    state: str
    says: tuple[str, ...]
    command: str
    """Part of the command that is run; of one that only is printed where `mends` is False."""
    mends: bool = True
    ends_with: int = 0

    def __str__(self) -> str:
        return f"{self.done.__name__}: {self.command}"


EDITED = (
    "1 definition of release 1 is not what was released",
    f"{ECHO} was changed; last written at",
    "by kubectl-edit",
)
AGAIN = "store them again, from the custom resources"

SITUATIONS = [
    Situation(never_taskroll, "release", "warning", ("no release yet, and 2 definitions live",), "taskroll adopt"),
    Situation(edit, "definitions", "problem", EDITED, "taskroll rollback --to 1"),
    Situation(edit, "definitions", "problem", EDITED, f"taskroll adopt {ECHO}"),
    Situation(delete, "definitions", "problem", ("TaskDefinition/shout is gone",), "taskroll rollback --to 1"),
    Situation(
        delete, "definitions", "problem", ("TaskDefinition/shout is gone",), "taskroll adopt TaskDefinition/shout"
    ),
    Situation(add, "definitions", "warning", ("1 definition in no release",), "taskroll adopt TaskDefinition/shout"),
    Situation(add, "definitions", "warning", ("1 definition in no release",), "delete taskdefinition shout"),
    Situation(lose_revision, "revisions", "problem", ("1 revision of release 1", ECHO), f"adopt {ECHO}", ends_with=10),
    Situation(
        lose_revision_and_edit, "revisions", "problem", ("1 revision of release 1",), "deploy PACKAGE", mends=False
    ),
    Situation(edit_pointer, "release", "problem", ("digest does not match",), "patch configmap taskroll-release"),
    Situation(delete_pointer, "release", "problem", ("taskroll-release is gone",), "create configmap taskroll-release"),
    Situation(edit_fence, "fence", "problem", ("do not match its state",), "delete configmap taskroll-fence"),
    Situation(
        leave_fence, "fence", "problem", ("ended ended, and the fence is still up",), "taskroll reconcile", mends=False
    ),
    Situation(
        leak_instance, "instances", "problem", ("UnitTaskInstance/leaked of LongGone",), "unittaskinstance leaked"
    ),
    Situation(alter_record, "records", "problem", ("record one was altered",), "get taskupdates"),
    Situation(split_module, "module-sources", "problem", ("probe_tasks.echo: TaskDefinition/echo",), "rollback --to 1"),
]


def finding(ran: Ran, check: str, state: str | None = None) -> dict[str, Any]:
    found = [each for each in ran.document()["findings"] if each["check"] == check]
    return next(each for each in found if state is None or each["state"] == state)


@pytest.mark.parametrize("row", SITUATIONS, ids=str)
async def test_what_is_wrong_is_said_and_mended_by_the_command(scene: Scene, row: Situation) -> None:
    if shutil.which("kubectl") is None and ("configmap" in row.command or "delete" in row.command):
        pytest.skip("the command is one of kubectl's, and this machine has none")
    await row.done(scene)
    ran = await scene.place.run("doctor", "-o", "json")
    assert ran.code == (16 if row.state == "problem" else 0), ran.err
    found = finding(ran, row.check, row.state)
    text = "\n".join([found["message"], *found["details"]])
    assert all(words in text for words in row.says), text
    commands = [each["command"] for each in found["remedies"] if row.command in each["command"]]
    assert commands, found["remedies"]
    shown = await scene.place.run("doctor")
    assert f"{row.state:<8} {row.check}" in shown.out
    assert commands[-1] in shown.out
    if not row.mends:
        return
    mended = await scene.place.shell(commands[-1])
    assert mended.code == row.ends_with, mended.err
    if row.check != "records":
        after = await scene.place.run("doctor", "-o", "json")
        assert after.code == 0, after.out
        assert finding(after, row.check)["state"] == "ok"


async def test_a_place_where_all_is_well(scene: Scene) -> None:
    await nothing(scene)
    ran = await scene.place.run("doctor", "-o", "json")
    assert ran.code == 0, ran.out
    assert ran.document()["is_healthy"] is True
    assert {each["state"] for each in ran.document()["findings"]} == {"ok"}
    assert (await scene.place.run("doctor")).out.rstrip().endswith("all is well")


async def test_what_stands_in_a_revisions_place_is_taken_away_first(scene: Scene) -> None:
    await forge_revision(scene)
    found = finding(await scene.place.run("doctor", "-o", "json"), "revisions")
    assert f"instead of {ECHO}" in found["details"][0]
    take_away, write_again = (each["command"] for each in found["remedies"])
    if shutil.which("kubectl") is None:
        pytest.skip("the command is one of kubectl's, and this machine has none")
    assert (await scene.place.shell(take_away)).code == 0
    assert (await scene.place.shell(write_again)).code == 10
    assert (await scene.place.run("doctor")).code == 0


async def test_while_an_update_is_under_way_no_pointer_is_proposed(scene: Scene, client: TaskrollClient) -> None:
    await nothing(scene)
    waits = ("deploy", str(scene.package(2)), "--approval", "required", "--request-id", "two", "--no-wait")
    assert (await scene.place.run(*waits)).code == 0
    async for view in client.watch("two"):
        if view.status.phase == "awaiting-approval":
            break
    await scene.patch_state(POINTER_NAME, {"epoch": "9"})
    ran = await scene.place.run("doctor", "-o", "json")
    assert finding(ran, "release")["remedies"] == []
    assert "two: awaiting-approval" in finding(ran, "updates")["message"]
    await client.abort("two", AbortInput(by="tester"))
    await client.wait("two")


async def test_a_developer_sees_which_rights_are_missing(scene: Scene) -> None:
    as_developer = {"TASKROLL_CONTEXT": "developer"}
    before = finding(await scene.place.run("doctor", "-o", "json", **as_developer), "rights")
    assert before["state"] == "ok", before
    rbac = RbacAuthorizationV1Api(scene.api)
    await rbac.delete_namespaced_role_binding("taskroll-developers", scene.namespace)
    ran = await scene.place.run("doctor", "-o", "json", **as_developer)
    found = finding(ran, "rights", "problem")
    assert "create controllerrevisions" in found["details"]
    command = found["remedies"][0]["command"]
    assert "--context developer" in command
    if shutil.which("kubectl") is None:
        pytest.skip("the command is one of kubectl's, and this machine has none")
    # It is for an administrator, who calls the same cluster by another context.
    ran = await scene.place.shell(command.replace("--context developer", "--context admin"))
    assert ran.code == 0, ran.err
    assert finding(await scene.place.run("doctor", "-o", "json", **as_developer), "rights")["state"] == "ok"


async def test_a_worker_that_lacks_rights(scene: Scene) -> None:
    ran = await scene.place.run("doctor", "-o", "json")
    assert finding(ran, "worker-rights")["state"] == "ok"
    role = {"rules": [{"apiGroups": ["taskroll.dev"], "resources": ["taskupdates"], "verbs": ["get"]}]}
    await RbacAuthorizationV1Api(scene.api).patch_namespaced_role(
        "taskroll-worker", scene.namespace, role, _content_type="application/merge-patch+json"
    )
    ran = await scene.place.run("doctor", "-o", "json")
    assert ran.code == 16, ran.out
    lacking = finding(ran, "worker-rights", "problem")["details"]
    assert {"create controllerrevisions", "update configmaps/taskroll-release", "list pods"} <= set(lacking)
    assert "get taskupdates" not in lacking
    # It may not read the pointer either, and says so.
    assert "taskroll-release" in finding(ran, "replicas", "skipped")["message"]


async def test_a_head_of_the_records_that_cannot_be_read(scene: Scene) -> None:
    await nothing(scene)
    await scene.patch_state("taskroll-record-head", {"record.json": "{"})
    ran = await scene.place.run("doctor", "-o", "json")
    assert ran.code == 16
    assert "holds no record" in finding(ran, "records", "problem")["details"][0]
