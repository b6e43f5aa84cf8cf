"""Behind the fence: what the API server refuses while an update is under way, and clusters that do not enforce it."""

import asyncio
import contextlib
from collections.abc import AsyncGenerator

import pytest
from kubernetes.aio.client import AdmissionregistrationV1Api, CoreV1Api
from kubernetes.aio.client.exceptions import ApiException

from activities import raise_fence
from taskroll.cluster.connection import Cluster
from taskroll.cluster.fence import read_fence
from taskroll.cluster.fence_enforcement import POLICIES
from taskroll.cluster.fence_state import FENCE_NAME
from taskroll.cluster.kubeconfig import ClusterSettings
from taskroll.cluster.manifests import install

from .sources import library, unit
from .test_foreign_writes import ENCODER, delete, edit
from .world import QUICK, World

KEEPER = "taskroll-tests-keeper"
BEST_EFFORT = QUICK.model_copy(update={"fence": "best-effort"})


async def test_foreign_edit_and_delete_are_refused_with_the_name_of_the_update(world: World) -> None:
    await world.update(library(1))
    before = await world.definitions()
    hold = world.faults.hold("patch")
    request_id = await world.submit(library(2))
    await hold.reached.wait()
    for attempt in (edit(world, unit("EncoderTask", 7)), delete(world, "sketch-task")):
        with pytest.raises(ApiException) as caught:
            await attempt
        assert caught.value.status == 403
        assert f"is under update {request_id}" in caught.value.body
        assert f"taskroll -n {world.namespace} status {request_id}" in caught.value.body
    assert await world.definitions() == before
    await edit(world, unit("WriterTask", 7))
    hold.release()
    view = await world.ended(request_id)
    assert view.status.outcome == "completed", view.status.message
    await edit(world, unit("EncoderTask", 7))


async def test_the_probe_leaves_no_instance(world: World) -> None:
    view = await world.update(library(1))
    assert view.status.outcome == "completed", view.status.message
    listed = await world.custom.list_namespaced_custom_object(
        "cornserve.ai", "v1", world.namespace, "unittaskinstances"
    )
    assert listed["items"] == []


# clusters where the API server does not enforce it


class Policies:
    """The admission policies of the stack, as an administrator handles them."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.api = AdmissionregistrationV1Api(world.api)

    async def remove(self) -> None:
        """Unbind them, and wait until the API server goes by that.

        One binding stays, which matches nothing: without any that has a ConfigMap as its parameter the API server stops
        to watch ConfigMaps, for good (kubernetes issue 130887), and the stack would be of no more use.
        """
        await self._keep_parameters()
        for name in POLICIES:
            await self.api.delete_validating_admission_policy_binding(name)
        await self._until(acting=False)

    async def _keep_parameters(self) -> None:
        nowhere = {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "nowhere"}}}
        binding = {
            "metadata": {"name": KEEPER},
            "spec": {
                "policyName": POLICIES[0],
                "validationActions": ["Audit"],
                "paramRef": {"name": FENCE_NAME, "parameterNotFoundAction": "Allow"},
                "matchResources": nowhere,
            },
        }
        with contextlib.suppress(ApiException):
            await self.api.create_validating_admission_policy_binding(binding)

    async def leave_out(self) -> None:
        """Bind the one on instances with an exception for this namespace."""
        name = POLICIES[0]
        selector = {"key": "kubernetes.io/metadata.name", "operator": "NotIn", "values": [self.world.namespace]}
        rule = {"matchResources": {"namespaceSelector": {"matchExpressions": [selector]}}}
        await self.api.patch_validating_admission_policy_binding(
            name, {"spec": rule}, _content_type="application/merge-patch+json"
        )
        await asyncio.sleep(1.5)

    async def restore(self) -> None:
        await self._keep_parameters()
        for name in POLICIES:
            with contextlib.suppress(ApiException):
                await self.api.delete_validating_admission_policy_binding(name)
        settings = ClusterSettings(kubeconfig=str(self.world.stack.kubeconfig), context="admin")
        async with await Cluster.connect(settings) as cluster:
            await install(cluster, self.world.namespace, folders=("admission",))
        await self._until(acting=True)

    async def _until(self, *, acting: bool) -> None:
        body = {"metadata": {"name": "taskroll-record-head"}, "data": {}}
        async with asyncio.timeout(20):
            while True:
                refused = False
                try:
                    await CoreV1Api(self.world.api).create_namespaced_config_map("default", body, dry_run="All")
                except ApiException as error:
                    refused = error.status == 403
                if refused == acting:
                    return
                await asyncio.sleep(0.05)


@pytest.fixture
async def policies(world: World) -> AsyncGenerator[Policies]:
    """What a test does to them is undone when it ends."""
    handled = Policies(world)
    yield handled
    await handled.restore()


async def test_without_the_policies_an_update_is_rejected_with_the_command_that_installs_them(
    world: World, policies: Policies
) -> None:
    await policies.remove()
    view = await world.update(library(1))
    assert view.status.outcome == "rejected", view.status.message
    assert "kubectl apply -k deploy/admission" in view.status.message
    assert "--fence best-effort" in view.status.message
    assert [step.name for step in view.status.steps] == ["plan"]
    assert await world.definitions() == {}
    assert not (await read_fence(world.cluster, world.namespace)).holders


async def test_best_effort_goes_on_and_the_plan_says_what_it_lacks(world: World, policies: Policies) -> None:
    await policies.remove()
    view = await world.update(library(1), policy=BEST_EFFORT)
    assert view.status.outcome == "completed", view.status.message
    assert view.status.plan is not None
    assert "the API server does not enforce the whole fence" in view.status.plan.warnings[0]
    assert "taskroll-fence-instances" in view.status.plan.warnings[0]
    fence = next(step for step in view.status.steps if step.name == "fence")
    assert "does not enforce" in fence.detail


async def test_best_effort_sees_an_instance_that_came_after_the_check(world: World, policies: Policies) -> None:
    await world.update(library(1))
    before = await world.definitions()
    await policies.remove()
    hold = world.faults.hold("patch")
    request_id = await world.submit(library(2), policy=BEST_EFFORT)
    await hold.reached.wait()
    await world.create_instance("EncoderTask")
    hold.release()
    view = await world.ended(request_id)
    assert view.status.outcome == "rolled_back", view.status.message
    assert "EncoderTask instance-1" in view.status.message
    assert await world.definitions() == before


async def test_policies_that_leave_the_namespace_out_are_found_out_behind_the_fence(
    world: World, policies: Policies, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(raise_fence, "ENFORCED_WITHIN", 1.0)
    await policies.leave_out()
    view = await world.update(library(1))
    assert view.status.outcome == "rolled_back", view.status.message
    assert "the API server lets new instances of fenced tasks pass" in view.status.message
    assert [step.name for step in view.status.steps] == ["plan", "fence"]
    assert await world.definitions() == {}
    assert not (await read_fence(world.cluster, world.namespace)).holders


async def test_edit_by_an_administrator_who_removed_the_policies_stops_the_update_and_stays(
    world: World, policies: Policies
) -> None:
    await world.update(library(1))
    hold = world.faults.hold("patch")
    request_id = await world.submit(library(2))
    await hold.reached.wait()
    await policies.remove()
    await edit(world, unit("EncoderTask", 7))
    edited = (await world.definitions())[ENCODER]
    hold.release()
    view = await world.ended(request_id)
    assert view.status.outcome == "needs_operator", view.status.message
    assert ENCODER in view.status.message
    assert (await world.definitions())[ENCODER] == edited


async def test_policies_installed_a_moment_before_are_waited_for(world: World, policies: Policies) -> None:
    """A binding takes effect up to a second after it is written."""
    await policies.remove()
    settings = ClusterSettings(kubeconfig=str(world.stack.kubeconfig), context="admin")
    async with await Cluster.connect(settings) as cluster:
        await install(cluster, world.namespace, folders=("admission",))
    view = await world.update(library(1))
    assert view.status.outcome == "completed", view.status.message


async def test_doctor_tries_what_the_fence_forbids_while_one_is_up(world: World, policies: Policies) -> None:
    hold = world.faults.hold("patch")
    request_id = await world.submit(library(1))
    await hold.reached.wait()

    async def admission() -> tuple[str, str]:
        diagnosis = await world.client.examine(lambda command: f"taskroll {command}")
        found = next(each for each in diagnosis.findings if each.check == "admission")
        return found.state, found.message

    assert await admission() == ("ok", f"all {len(POLICIES)} policies are bound to deny")
    await policies.leave_out()
    state, message = await admission()
    assert state == "problem"
    assert f"the fence of {request_id} is up, and the API server lets instances" in message
    hold.release()
    assert (await world.ended(request_id)).status.outcome == "completed"
