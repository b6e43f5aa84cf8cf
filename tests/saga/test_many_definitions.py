"""Many definitions in one update: all of them, or none."""

import asyncio

import pytest
from kubernetes.aio.client import AdmissionregistrationV1Api
from kubernetes.aio.client.exceptions import ApiException

from taskroll.cluster.releases import list_releases

from .sources import unit
from .world import CORNSERVE, PATIENT, World

COUNT = 20
NAMES = [f"Unit{chr(ord('A') + number)}Task" for number in range(COUNT)]
THIRTEENTH = NAMES[12]


@pytest.fixture
async def refusal(world: World):
    """The API server refuses every change of the 13th definition from the moment that `start` returns."""
    api = AdmissionregistrationV1Api(world.api)
    name = f"refuse-{world.namespace}"
    policy = {
        "metadata": {"name": name},
        "spec": {
            "failurePolicy": "Fail",
            "matchConstraints": {
                "resourceRules": [
                    {
                        "apiGroups": ["cornserve.ai"],
                        "apiVersions": ["v1"],
                        "operations": ["UPDATE"],
                        "resources": ["taskdefinitions"],
                    }
                ]
            },
            "validations": [
                {"expression": f"object.spec.taskClassName != '{THIRTEENTH}'", "message": "the 13th is refused"}
            ],
        },
    }
    binding = {
        "metadata": {"name": name},
        "spec": {
            "policyName": name,
            "validationActions": ["Deny"],
            "matchResources": {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": world.namespace}}},
        },
    }

    async def start() -> None:
        await api.create_validating_admission_policy(policy)
        await api.create_validating_admission_policy_binding(binding)
        async with asyncio.timeout(20):
            while not await is_refused():
                await asyncio.sleep(0.05)

    async def is_refused() -> bool:
        content = unit(THIRTEENTH, 9)
        try:
            await world.exempt.patch_namespaced_custom_object(
                *CORNSERVE,
                world.namespace,
                "taskdefinitions",
                content.name,
                {"spec": content.spec},
                dry_run="All",
                _content_type="application/merge-patch+json",
            )
        except ApiException as error:
            return error.status == 422
        return False

    yield start
    await api.delete_validating_admission_policy_binding(name)
    await api.delete_validating_admission_policy(name)


async def test_refusal_of_the_thirteenth_leaves_all_twenty_as_they_were(world: World, refusal) -> None:
    first = await world.update([unit(name, 1) for name in NAMES])
    assert first.status.outcome == "completed", first.status.message
    definitions, contents = await world.definitions(), world.replicas.contents()
    hold = world.faults.hold("patch", "before")
    request_id = await world.submit([unit(name, 2) for name in NAMES])
    await hold.reached.wait()
    await refusal()
    hold.release()
    view = await world.ended(request_id)
    assert view.status.outcome == "rolled_back"
    assert "the 13th is refused" in view.status.message
    assert view.status.restored_byte_for_byte is True
    assert await world.definitions() == definitions
    assert world.replicas.contents() == contents
    assert len(await list_releases(world.cluster, world.namespace)) == 1


async def test_refusal_in_the_dry_run_touches_nothing(world: World, refusal) -> None:
    await world.update([unit(name, 1) for name in NAMES])
    definitions = await world.definitions()
    await refusal()
    view = await world.update([unit(name, 2) for name in NAMES])
    assert view.status.outcome == "rejected"
    assert "the 13th is refused" in view.status.message
    assert [step.name for step in view.status.steps] == ["plan"]
    assert await world.definitions() == definitions


async def test_two_hundred_definitions_fit_the_history(world: World) -> None:
    names = [f"U{chr(ord('A') + a)}{chr(ord('a') + b)}Task" for a in range(10) for b in range(20)]
    view = await world.update([unit(name, 1) for name in names], policy=PATIENT)
    assert view.status.outcome == "completed", view.status.message
    history = await world.handle(view.status.request_id).fetch_history()
    assert len(history.events) <= 80
    assert sum(event.ByteSize() for event in history.events) < 64 * 1024
