"""What the platform keeps itself: instances of tasks, and its pointer to the newest task library."""

from __future__ import annotations

from typing import Any

import pytest

from taskroll.cluster.objects import create_object
from taskroll.cluster.resources import LATEST_TASKLIB_RV, UNIT_TASK_INSTANCE
from taskroll.cluster.task_instances import list_instances
from taskroll.cluster.tasklib_version import SINGLETON, advance_tasklib_version
from taskroll.cluster.transport import Reply

REQUEST = "update-1"


async def _register(lab, name: str, class_name: str, **meta: Any) -> None:
    spec = {"definitionRef": class_name, "config": {"model": {"id": "x", "sizes": [1, None]}}}
    body = {"metadata": {"name": name, **meta}, "spec": spec}
    await create_object(lab.admin, UNIT_TASK_INSTANCE, lab.namespace, body, manager="gateway")


async def test_instances_are_found_by_the_class_name(lab):
    await _register(lab, "b", "EncoderTask")
    await _register(lab, "a", "EncoderTask")
    await _register(lab, "c", "DecoderTask")
    found = await list_instances(lab.taskroll, lab.namespace, {"EncoderTask", "OtherTask"})
    assert {(instance.name, instance.class_name) for instance in found} == {("a", "EncoderTask"), ("b", "EncoderTask")}
    assert all(instance.created_at.endswith("Z") for instance in found)
    assert [i.name for i in found] == [i.name for i in sorted(found, key=lambda i: (i.created_at, i.name))]
    assert await list_instances(lab.taskroll, lab.namespace, set()) == []


async def test_an_instance_that_is_being_deleted_is_still_there(lab):
    await _register(lab, "a", "EncoderTask", finalizers=["example.com/gpu"])
    await lab.delete_object(UNIT_TASK_INSTANCE, "a")
    assert len(await list_instances(lab.taskroll, lab.namespace, {"EncoderTask"})) == 1
    await lab.edit_object(UNIT_TASK_INSTANCE, "a", lambda raw: raw["metadata"].pop("finalizers"))
    assert await list_instances(lab.taskroll, lab.namespace, {"EncoderTask"}) == []


async def _versions(lab) -> tuple[int, int]:
    spec = (await lab.object(LATEST_TASKLIB_RV, SINGLETON)).spec
    return spec["maxTaskClassRV"], spec["maxDescriptorRV"]


async def test_the_platforms_pointer_follows_the_definitions(lab):
    first = await lab.create(lab.content("a"))
    assert await advance_tasklib_version(lab.taskroll, lab.namespace, request_id=REQUEST) == "advanced"
    assert await _versions(lab) == (int(first.resource_version), 0)
    assert await advance_tasklib_version(lab.taskroll, lab.namespace, request_id=REQUEST) == "already"
    descriptor = await lab.create(lab.content("a", kind="ExecutionDescriptor"))
    second = await lab.create(lab.content("b"))
    assert await advance_tasklib_version(lab.taskroll, lab.namespace, request_id=REQUEST) == "advanced"
    assert await _versions(lab) == (int(second.resource_version), int(descriptor.resource_version))


async def test_the_platforms_pointer_never_goes_back(lab):
    await lab.create(lab.content("a"))
    last = await lab.create(lab.content("b"))
    await advance_tasklib_version(lab.taskroll, lab.namespace, request_id=REQUEST)
    await lab.delete(last.key)
    assert await advance_tasklib_version(lab.taskroll, lab.namespace, request_id=REQUEST) == "already"
    assert await _versions(lab) == (int(last.resource_version), 0)


async def test_a_race_for_the_platforms_pointer_is_settled(lab):
    await lab.create(lab.content("a"))
    ahead = 2**40

    async def somebody_else() -> None:
        spec = {"maxTaskClassRV": ahead, "maxDescriptorRV": 7}
        body = {"metadata": {"name": SINGLETON}, "spec": spec}
        await create_object(lab.admin, LATEST_TASKLIB_RV, lab.namespace, body, manager="gateway")

    racing = lab.before_write(somebody_else)
    assert await advance_tasklib_version(racing, lab.namespace, request_id=REQUEST) == "already"
    assert await _versions(lab) == (ahead, 7)


async def test_any_lost_request_or_answer_is_made_good_by_a_retry(lab):
    number = 0

    async def prepare():
        nonlocal number
        number += 1
        await lab.create(lab.content(f"task-{number}"))

    async def act(cluster):
        return await advance_tasklib_version(cluster, lab.namespace, request_id=REQUEST)

    async for fault, _ in lab.with_each_fault(prepare, act):
        live = await lab.live(lab.content(f"task-{number}").key)
        assert (await _versions(lab))[0] == int(live.resource_version), fault


@pytest.mark.parametrize("answer", [b"404 page not found\n", b'{"kind":"Status","code":404,"details":{}}'])
async def test_a_platform_without_the_pointer_needs_none(lab, answer):
    class OldPlatform:
        async def send(self, call, seconds):
            if call.kind == LATEST_TASKLIB_RV.kind:
                return Reply(404, answer)
            return await lab.taskroll.transport.send(call, seconds)

    cluster = lab.interposed()
    cluster.transport = OldPlatform()
    assert await advance_tasklib_version(cluster, lab.namespace, request_id=REQUEST) == "absent"
