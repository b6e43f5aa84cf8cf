"""The admission policies: what a fence makes the API server refuse, to whom, and that it leaves alone all else."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import UTC, datetime
from typing import Any

import pytest

from taskroll.cluster.connection import Cluster
from taskroll.cluster.errors import Forbidden
from taskroll.cluster.fence import lower_fence, raise_fence
from taskroll.cluster.fence_enforcement import POLICIES, await_enforcement, missing_policies
from taskroll.cluster.fence_state import FENCE_NAME, FenceEntry
from taskroll.cluster.kubeconfig import ClusterSettings
from taskroll.cluster.manifests import install
from taskroll.cluster.objects import create_object, delete_object, list_objects, read_object, replace_object
from taskroll.cluster.resources import (
    CONFIG_MAP,
    DEFINITION_RESOURCES,
    NAMESPACE,
    TASK_UPDATE,
    UNIT_TASK_INSTANCE,
    Resource,
)
from taskroll.cluster.transport import APPLY, Call
from taskroll.devstack import StackInfo
from taskroll_agent.contracts import DefinitionKey

ENCODER = DefinitionKey("TaskDefinition", "encoder-task")
DESCRIPTOR = DefinitionKey("ExecutionDescriptor", "encoder-task")
BASE = DefinitionKey("TaskDefinition", "base-task")
OTHER = DefinitionKey("TaskDefinition", "other-task")

ENTRY = FenceEntry(
    request_id="u-1", exclusive=[str(ENCODER), str(DESCRIPTOR)], shared=[str(BASE)], task_classes=["EncoderTask"]
)

Act = Callable[[Any], Awaitable[object]]


async def raised(lab, entry: FenceEntry = ENTRY, now: datetime | None = None) -> str:
    attempt = await raise_fence(lab.taskroll, lab.namespace, entry, now or datetime.now(UTC))
    assert attempt.held
    assert await await_enforcement(lab.taskroll, lab.namespace, attempt.probe_class, within=10)
    return attempt.probe_class


async def create_instance(
    cluster: Cluster, namespace: str, class_name: str, name: str = "i-1", dry_run: bool = False
) -> None:
    body = {"metadata": {"name": name}, "spec": {"definitionRef": class_name, "config": {}}}
    await create_object(cluster, UNIT_TASK_INSTANCE, namespace, body, manager="gateway", dry_run=dry_run)


def _another_source(raw: dict[str, Any]) -> None:
    raw["spec"]["sourceCode"] = "bWluZQ=="


async def edit(
    cluster: Cluster, lab, key: DefinitionKey, change: Callable[[dict[str, Any]], object] = _another_source
) -> None:
    resource = DEFINITION_RESOURCES[key.kind]
    raw = (await read_object(lab.admin, resource, lab.namespace, key.name)).raw
    change(raw)
    await replace_object(cluster, resource, lab.namespace, raw, manager="kubectl-edit")


async def delete(cluster: Cluster, lab, key: DefinitionKey) -> None:
    await remove(cluster, lab, DEFINITION_RESOURCES[key.kind], key.name)


async def remove(cluster: Cluster, lab, resource: Resource, name: str) -> None:
    found = await read_object(lab.admin, resource, lab.namespace, name)
    version = found.resource_version
    await delete_object(cluster, resource, lab.namespace, name, uid=found.uid, resource_version=version)


@pytest.fixture
async def fenced(lab) -> AsyncIterator[Any]:
    """A namespace with four definitions and a live instance, of which an update fences two, and builds on a third."""
    for key in (ENCODER, BASE, OTHER):
        await lab.create(lab.content(key.name))
    await lab.create(lab.content(DESCRIPTOR.name, kind="ExecutionDescriptor"))
    await create_instance(lab.admin, lab.namespace, "EncoderTask", "live")
    await raised(lab)
    yield lab


# instances


@pytest.mark.parametrize("who", ["admin", "taskroll", "around"])
async def test_nobody_creates_an_instance_of_a_fenced_class_and_the_message_says_where_to_look(fenced, who):
    with pytest.raises(Forbidden) as caught:
        await create_instance(getattr(fenced, who), fenced.namespace, "EncoderTask")
    assert "no new instance of EncoderTask: it is under update u-1" in caught.value.message
    assert f"taskroll -n {fenced.namespace} status u-1" in caught.value.message


async def test_instances_of_other_classes_and_in_other_namespaces_are_created(fenced, admin):
    await create_instance(fenced.admin, fenced.namespace, "OtherTask")
    await create_instance(fenced.admin, fenced.namespace, "BaseTask", "i-2")
    await create_instance(admin, "taskroll-tests", "EncoderTask", dry_run=True)


async def test_a_live_instance_may_change_and_go_but_become_none_of_a_fenced_class(fenced):
    await fenced.edit_object(UNIT_TASK_INSTANCE, "live", lambda raw: raw["metadata"].update(labels={"seen": "yes"}))
    await create_instance(fenced.admin, fenced.namespace, "OtherTask", "other")
    with pytest.raises(Forbidden, match="no new instance of EncoderTask"):
        await fenced.edit_object(
            UNIT_TASK_INSTANCE, "other", lambda raw: raw["spec"].update(definitionRef="EncoderTask")
        )
    await fenced.delete_object(UNIT_TASK_INSTANCE, "live")


async def test_when_the_fence_is_down_all_is_as_before(fenced):
    await lower_fence(fenced.taskroll, fenced.namespace, "u-1")
    probe = (await raise_fence(fenced.taskroll, fenced.namespace, _only("u-2", "Else"), datetime.now(UTC))).probe_class
    assert await await_enforcement(fenced.taskroll, fenced.namespace, probe, within=10)
    await create_instance(fenced.admin, fenced.namespace, "EncoderTask")
    await edit(fenced.admin, fenced, ENCODER)


# definitions


async def _server_side_apply(lab) -> None:
    body = {
        "apiVersion": "cornserve.ai/v1",
        "kind": "TaskDefinition",
        "metadata": {"name": ENCODER.name},
        "spec": {"moduleName": "mine"},
    }
    path = DEFINITION_RESOURCES[ENCODER.kind].path(lab.namespace, ENCODER.name)
    query = {"fieldManager": "me", "force": "true"}
    await lab.admin.send(Call("apply", path, ENCODER.kind, ENCODER.name, query=query, body=body, content_type=APPLY))


async def _delete_collection(lab) -> None:
    path = DEFINITION_RESOURCES[ENCODER.kind].path(lab.namespace)
    query = {"fieldSelector": f"metadata.name={ENCODER.name}"}
    await lab.admin.send(Call("delete", path, ENCODER.kind, query=query))


REFUSED: dict[str, Act] = {
    "change the source": lambda lab: edit(lab.admin, lab, ENCODER),
    "change a label": lambda lab: edit(lab.admin, lab, ENCODER, lambda raw: raw["metadata"].update(labels={"a": "b"})),
    "change by server-side apply": _server_side_apply,
    "delete": lambda lab: delete(lab.admin, lab, ENCODER),
    "delete a collection": _delete_collection,
    "change the descriptor": lambda lab: edit(lab.admin, lab, DESCRIPTOR),
    "delete the descriptor": lambda lab: delete(lab.admin, lab, DESCRIPTOR),
    "change what it builds on": lambda lab: edit(lab.admin, lab, BASE),
    "another definition of the class": lambda lab: lab.create(lab.content("second", taskClassName="EncoderTask")),
    "another descriptor of the class": lambda lab: lab.create(
        lab.content("second", kind="ExecutionDescriptor", taskClassName="EncoderTask")
    ),
    "another definition joins the class": lambda lab: edit(
        lab.admin, lab, OTHER, lambda raw: raw["spec"].update(taskClassName="EncoderTask")
    ),
}


@pytest.mark.parametrize("what", REFUSED)
async def test_an_administrator_is_refused_and_told_of_the_update(fenced, what):
    before = await fenced.snapshot()
    with pytest.raises(Forbidden) as caught:
        await REFUSED[what](fenced)
    assert "is under update u-1, only taskroll may write it" in caught.value.message
    assert f"taskroll -n {fenced.namespace} status u-1" in caught.value.message
    assert await fenced.snapshot() == before


async def test_what_no_update_fences_is_left_alone(fenced):
    await edit(fenced.admin, fenced, OTHER)
    await delete(fenced.admin, fenced, OTHER)
    await fenced.create(fenced.content("new-task"))
    await fenced.create(fenced.content("new-task", kind="ExecutionDescriptor"))


async def test_taskroll_writes_what_it_fences(fenced):
    for key in (ENCODER, DESCRIPTOR):
        await edit(fenced.taskroll, fenced, key)
        await delete(fenced.taskroll, fenced, key)
    body = {"metadata": {"name": "encoder-task"}, "spec": fenced.content().spec}
    resource = DEFINITION_RESOURCES["TaskDefinition"]
    await create_object(fenced.taskroll, resource, fenced.namespace, body, manager="taskroll-u-1")


@pytest.mark.parametrize("home", ["here", "elsewhere"])
async def test_the_service_account_of_this_namespace_is_taskroll_and_no_other(fenced, stack: StackInfo, home, admin):
    await install(admin, fenced.namespace, folders=("rbac",))
    await install(admin, "taskroll-tests", folders=("rbac",))
    place = fenced.namespace if home == "here" else "taskroll-tests"
    # With the rights of an administrator, so that only the policy can refuse.
    async with await Cluster.connect(ClusterSettings(kubeconfig=str(stack.kubeconfig), context="admin")) as cluster:
        client: Any = vars(cluster.transport)["_client"]
        client.set_default_header("Impersonate-User", f"system:serviceaccount:{place}:taskroll")
        client.set_default_header("Impersonate-Group", "system:masters")
        if home == "here":
            await edit(cluster, fenced, ENCODER)
        else:
            with pytest.raises(Forbidden, match="under update u-1"):
                await edit(cluster, fenced, ENCODER)


async def test_finalizers_come_off_a_fenced_definition_that_is_being_deleted(lab):
    await lab.create(lab.content(), finalizers=["example.org/held"])
    await raised(lab)
    await delete(lab.taskroll, lab, ENCODER)
    with pytest.raises(Forbidden, match="under update u-1"):
        await edit(lab.admin, lab, ENCODER, lambda raw: raw["spec"].update(moduleName="mine"))
    await edit(lab.admin, lab, ENCODER, lambda raw: raw["metadata"].pop("finalizers"))
    assert await lab.live(ENCODER) is None


# taskroll's own state

STATE = [FENCE_NAME, "taskroll-release", "taskroll-record-head"]


async def _delete_all_maps(lab) -> None:
    path = CONFIG_MAP.path(lab.namespace)
    await lab.admin.send(Call("delete", path, "ConfigMap"))


@pytest.mark.parametrize("name", STATE)
async def test_only_taskroll_writes_its_state(lab, name):
    body = {"metadata": {"name": name}, "data": {}}
    with pytest.raises(Forbidden, match="only taskroll writes this"):
        await create_object(lab.admin, CONFIG_MAP, lab.namespace, body, manager="me")
    await create_object(lab.taskroll, CONFIG_MAP, lab.namespace, body, manager="taskroll-u-1")
    found = await read_object(lab.admin, CONFIG_MAP, lab.namespace, name)
    with pytest.raises(Forbidden, match="not admin"):
        await replace_object(lab.admin, CONFIG_MAP, lab.namespace, {**found.raw, "data": {"a": "b"}}, manager="me")
    with pytest.raises(Forbidden, match="only taskroll writes this"):
        await remove(lab.admin, lab, CONFIG_MAP, name)
    with pytest.raises(Forbidden, match="only taskroll writes this"):
        await _delete_all_maps(lab)
    await create_object(lab.admin, CONFIG_MAP, lab.namespace, {"metadata": {"name": "mine"}, "data": {}}, manager="me")
    await remove(lab.admin, lab, CONFIG_MAP, "mine")


async def test_only_taskroll_writes_the_status_of_a_record(lab):
    spec = {
        "requestDigest": "x",
        "workflowId": "w",
        "requestedBy": "ann",
        "origin": "update",
        "startedAt": "2026-05-04T12:00:00Z",
    }
    body = {"metadata": {"name": "u-1"}, "spec": spec}
    made = await create_object(lab.taskroll, TASK_UPDATE, lab.namespace, body, manager="taskroll-u-1")
    status = {"metadata": made.meta, "spec": made.spec, "status": {"digest": "sha256:x"}}
    with pytest.raises(Forbidden, match="only taskroll writes this"):
        await replace_object(lab.admin, TASK_UPDATE, lab.namespace, status, manager="me", subresource="status")
    await replace_object(lab.taskroll, TASK_UPDATE, lab.namespace, status, manager="me", subresource="status")
    await remove(lab.admin, lab, TASK_UPDATE, "u-1")


async def test_a_namespace_that_is_being_deleted_goes_with_its_fence(fenced, until_permitted):
    await fenced.admin.send(Call("delete", NAMESPACE.path(None, fenced.namespace), "Namespace", fenced.namespace))
    await until_permitted(lambda: delete(fenced.admin, fenced, ENCODER))
    await until_permitted(lambda: remove(fenced.admin, fenced, CONFIG_MAP, FENCE_NAME))


# the probe


async def test_the_probe_leaves_nothing_and_is_no_instance(lab):
    probe = await raised(lab)
    await lower_fence(lab.taskroll, lab.namespace, "u-1")
    assert not await await_enforcement(lab.taskroll, lab.namespace, probe, within=0.3)
    assert await list_objects(lab.admin, UNIT_TASK_INSTANCE, lab.namespace) == []


async def test_an_earlier_fence_of_the_same_update_is_not_taken_for_the_present_one(lab):
    first = await raised(lab)
    await lower_fence(lab.taskroll, lab.namespace, "u-1")
    second = await raised(lab)
    assert first != second
    assert not await await_enforcement(lab.taskroll, lab.namespace, first, within=0.3)


async def test_an_update_without_any_task_class_is_seen_enforced_too(lab):
    await raised(lab, FenceEntry(request_id="u-1", exclusive=[str(ENCODER)]))


async def test_a_refusal_of_another_kind_is_no_proof(lab, stack: StackInfo):
    """RBAC forbids the developer to create instances: that says nothing of the fence."""
    probe = await raised(lab)
    async with await Cluster.connect(ClusterSettings(kubeconfig=str(stack.kubeconfig), context="developer")) as dev:
        assert not await await_enforcement(dev, lab.namespace, probe, within=0.2)


async def test_one_api_server_that_does_not_refuse_yet_is_waited_for(lab):
    """Of four connections one meets a server that lags behind."""
    probe = await raised(lab)
    passed = 0

    async def lag(call: Call) -> None:
        nonlocal passed
        if call.is_write and passed < 3:
            passed += 1
            call.body["spec"]["definitionRef"] = "Unfenced"

    assert await await_enforcement(lab.interposed(lag), lab.namespace, probe, within=10)
    assert passed == 3


@pytest.mark.parametrize("context", ["taskroll", "developer"])
async def test_everybody_may_see_that_the_policies_are_installed(lab, stack: StackInfo, context):
    async with await Cluster.connect(ClusterSettings(kubeconfig=str(stack.kubeconfig), context=context)) as cluster:
        assert await missing_policies(cluster) == []


async def test_policies_that_are_absent_or_do_not_deny_are_named(lab):
    class Lacking:
        """Answers as a cluster does where one policy is absent and another only warns."""

        def __init__(self, inner) -> None:
            self.inner = inner

        async def send(self, call: Call, seconds: float):
            reply = await self.inner.send(call, seconds)
            if call.name == POLICIES[0]:
                return type(reply)(404, b'{"reason": "NotFound", "message": "gone", "details": {"name": "x"}}', {})
            return type(reply)(reply.status, reply.body.replace(b'"Deny"', b'"Warn"'), reply.headers)

        async def close(self) -> None: ...

    assert await missing_policies(Cluster(Lacking(lab.taskroll.transport))) == sorted(POLICIES)


def _only(request_id: str, class_name: str) -> FenceEntry:
    return FenceEntry(request_id=request_id, exclusive=["TaskDefinition/else"], task_classes=[class_name])
