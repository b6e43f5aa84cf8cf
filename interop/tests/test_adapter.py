"""Task classes change in the running services, idle and with live apps, and nothing stays behind on the former ones."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from typing import Any

import pytest

from interop.direct import DirectUpdate
from interop.fleet import Fleet
from interop.gateway import GatewayRefused
from interop.library import CLASSES, duet_app, library
from taskroll_agent.contracts import DefinitionContent
from tests.saga.world import World

NAMES = (*CLASSES, "ScribeDescriptor")

OUT_OF_PLACE = """
from taskroll_agent.generation import Generation
(registry,) = living("Registry")
generation = registry.active.generation
found = []
for loaded in generation:
    module = sys.modules[loaded.module]
    parent = sys.modules[loaded.module.rpartition(".")[0]]
    if getattr(module, loaded.class_name) is not loaded.cls:
        found.append(f"sys.modules: {loaded.key}")
    if getattr(getattr(parent, loaded.module.rpartition(".")[2]), loaded.class_name) is not loaded.cls:
        found.append(f"parent package: {loaded.key}")
    if loaded.key.kind == "ExecutionDescriptor":
        if DESCRIPTOR_REGISTRY.registry[loaded.task_class_name][loaded.class_name] is not loaded.cls:
            found.append(f"descriptor registry: {loaded.key}")
        if DESCRIPTOR_REGISTRY.default_registry[loaded.task_class_name] is not loaded.cls:
            found.append(f"default descriptor: {loaded.key}")
    elif loaded.spec["isUnitTask"]:
        if TASK_CLASS_REGISTRY.get_unit_task(loaded.class_name)[0] is not loaded.cls:
            found.append(f"task registry: {loaded.key}")
    elif TASK_CLASS_REGISTRY._composite_tasks[loaded.class_name] is not loaded.cls:
        found.append(f"task registry: {loaded.key}")
tasks = [task for manager in living("TaskManager") for task in getattr(manager, "tasks", {}).values()]
tasks += [manager.task for manager in living("TaskManager") if hasattr(manager, "task")]
tasks += [state.deployment.task for manager in living("ResourceManager") for state in manager.task_states.values()]
tasks += [info.task for dispatcher in living("TaskDispatcher") for info in dispatcher.task_infos.values()]
for apps in living("AppManager"):
    for app in apps.apps.values():
        tasks += [*app.tasks, *app.components.config_cls.tasks.values()]
        tasks += [task.scribe for task in app.components.config_cls.tasks.values()]
for task in tasks:
    if type(task) is not generation.get(type(task).__name__):
        found.append(f"a live {type(task).__name__}")
return {"found": found, "tasks": len(tasks)}
"""
"""Everything in a service that would still mean another class than that of the running release."""


async def run_version(fleet: Fleet, direct: DirectUpdate, version: int) -> dict[str, int]:
    """Assert that every service runs that version and nothing else; return service → live tasks."""
    tasks: dict[str, int] = {}
    for name, said in (await direct.attestations()).items():
        assert said.problem is None, name
        assert said.definitions == {str(one.key): one.digest() for one in library(version)}, name
        loaded = await fleet.loaded(name)
        assert {loaded.versions[cls] for cls in NAMES} == {version}, name
        held = await fleet[name].run(OUT_OF_PLACE)
        assert held["found"] == [], name
        tasks[name] = held["tasks"]
    return tasks


def versions_in(answer: dict[str, Any]) -> set[int]:
    """All versions that took part in a call."""
    received = [(one["unit"], one["descriptor"], one["asked_by"], one["recorded_by"]) for one in answer["received"]]
    return {answer["version"], *answer["recorded_by"], *(version for some in received for version in some)}


async def test_idle_services_go_to_version_2_and_back(
    cornserve_world: World, adapted: Fleet, direct: DirectUpdate
) -> None:
    processes = {service.name: service.pid for service in adapted.stock}
    for version in (1, 2, 1):
        view = await cornserve_world.update(library(version))
        assert view.status.outcome == "completed", view.status
        await run_version(adapted, direct, version)
    assert {service.name: service.pid for service in adapted.stock} == processes


async def test_live_apps_are_carried_to_version_2_and_back(
    cornserve_world: World, adapted: Fleet, direct: DirectUpdate
) -> None:
    await cornserve_world.update(library(1))
    app = await adapted.gateway.register(duet_app())
    assert versions_in(await adapted.gateway.invoke(app, text="one")) == {1}

    for version in (2, 1, 2):
        await direct.update(library(version))
        tasks = await run_version(adapted, direct, version)
        assert tasks == {"gateway": 4, "resource-manager": 1, "task-dispatcher-0": 1, "task-dispatcher-1": 1}
        answer = await adapted.gateway.invoke(app, text="on")
        assert versions_in(answer) == {version}
        assert [one.get("tone") for one in answer["received"]] == ([None] * 2 if version == 1 else ["plain"] * 2)

    # The same task again joins the one that is deployed, and both uses have to end before it is torn down.
    second = await adapted.gateway.register(duet_app())
    assert len(await adapted.gateway.tasks()) == 1
    await adapted.gateway.unregister(app)
    assert versions_in(await adapted.gateway.invoke(second, text="still")) == {2}
    await adapted.gateway.unregister(second)
    assert await adapted.gateway.tasks() == []
    assert await adapted.administrator.instances() == []
    assert set((await run_version(adapted, direct, 2)).values()) == {0}


@pytest.mark.parametrize("last", ["the former version", "another default"])
async def test_a_task_that_went_along_with_updates_is_torn_down(
    cornserve_world: World, adapted: Fleet, direct: DirectUpdate, last: str
) -> None:
    other = changed("ScribeTask", 'tone: str = "plain"', 'tone: str = "bold"')
    await cornserve_world.update(library(1))
    app = await adapted.gateway.register(duet_app())
    for definitions in (library(2), library(1) if last == "the former version" else other):
        await direct.update(definitions)
    await adapted.gateway.unregister(app)

    assert await adapted.administrator.instances() == []
    tasks = {service.name: (await service.run(OUT_OF_PLACE))["tasks"] for service in adapted.stock}
    assert tasks == dict.fromkeys(tasks, 0)


async def test_a_first_deploy_by_the_gateway_works_until_there_is_a_release(
    cornserve_world: World, adapted: Fleet, direct: DirectUpdate
) -> None:
    await adapted.gateway.deploy(library(1))
    await adapted.until_loaded(NAMES, 1)
    app = await adapted.gateway.register(duet_app())

    await direct.update(library(2))

    await run_version(adapted, direct, 2)
    assert versions_in(await adapted.gateway.invoke(app, text="from stock")) == {2}
    await adapted.gateway.unregister(app)
    assert await adapted.gateway.tasks() == []


async def test_what_others_do_to_definitions_changes_nothing(
    cornserve_world: World, adapted: Fleet, direct: DirectUpdate
) -> None:
    await cornserve_world.update(library(1))
    scribe = next(one for one in library(2) if one.class_name == "ScribeTask")
    custom = cornserve_world.custom
    where = ("cornserve.ai", "v1", cornserve_world.namespace, "taskdefinitions", scribe.name)
    await custom.patch_namespaced_custom_object(
        *where, {"spec": scribe.spec}, _content_type="application/merge-patch+json"
    )
    await custom.delete_namespaced_custom_object(*where)
    await cornserve_world.create_definition(scribe)
    await adapted.gateway.deploy(library(2))

    await run_version(adapted, direct, 1)
    await adapted.restart("task-dispatcher-0")
    await direct.until_ready("task-dispatcher-0")
    await run_version(adapted, direct, 1)


def changed(name: str, old: str, new: str) -> Sequence[DefinitionContent]:
    """Version 2, with a text of one module replaced."""
    definitions: list[DefinitionContent] = []
    for one in library(2):
        source = one.source().decode()
        if one.class_name == name:
            assert old in source
            encoded = base64.b64encode(source.replace(old, new).encode()).decode()
            one = one.model_copy(update={"spec": {**one.spec, "sourceCode": encoded}})
        definitions.append(one)
    return definitions


PEN = 'ScribeTask(model_id="pen")'

REFUSED = {
    "a composite that does not import": (
        changed("DuetTask", "import ScribeInput, ScribeTask", "import ScribeInput, ScribeTask, Absent"),
        "TaskDefinition/duet-task",
        "ImportError",
        "cannot import Absent",
        {"gateway", "resource-manager", "task-dispatcher-0", "task-dispatcher-1"},
    ),
    "a class that Cornserve would not have": (
        changed("ScribeDescriptor", "(TaskExecutionDescriptor[ScribeTask, ScribeInput, ScribeOutput])", ""),
        "ExecutionDescriptor/scribe-descriptor",
        "TypeError",
        "is not a TaskExecutionDescriptor",
        {"gateway", "resource-manager", "task-dispatcher-0", "task-dispatcher-1"},
    ),
    "a field that live tasks have no value for": (
        changed("ScribeTask", 'tone: str = "plain"', "tone: str"),
        "TaskDefinition/scribe-task",
        "InstanceInvalid",
        "tone: Field required",
        {"resource-manager", "task-dispatcher-0", "task-dispatcher-1"},
    ),
    "a field that live tasks have another value for": (
        changed("ScribeTask", 'model_id: str = "quill"', "model_id: int = 1"),
        "TaskDefinition/scribe-task",
        "InstanceInvalid",
        "model_id: Input should be a valid integer",
        {"gateway", "resource-manager", "task-dispatcher-0", "task-dispatcher-1"},
    ),
    "a composite whose app would need a task that is not deployed": (
        changed(
            "DuetTask", "self.scribe = ScribeTask()", 'ScribeTask(model_id="pen")\n        self.scribe = ScribeTask()'
        ),
        "TaskDefinition/scribe-task",
        "NotDeployed",
        "would use a ScribeTask that is not deployed",
        {"gateway"},
    ),
}


@pytest.mark.parametrize("situation", list(REFUSED))
async def test_what_cannot_be_carried_over_is_named_in_prepare(
    cornserve_world: World, adapted: Fleet, direct: DirectUpdate, situation: str
) -> None:
    definitions, key, error, message, where = REFUSED[situation]
    await cornserve_world.update(library(1))
    app = await adapted.gateway.register(duet_app())

    answers = await direct.prepare(definitions, "refused")

    for name in where:
        problems = answers[name].problems
        assert not answers[name].prepared, name
        assert any(one.definition == key and one.error == error and message in one.message for one in problems), (
            problems
        )
    await run_version(adapted, direct, 1)
    assert versions_in(await adapted.gateway.invoke(app, text="as before")) == {1}
    await adapted.gateway.unregister(app)
    with pytest.raises(GatewayRefused):
        await adapted.gateway.invoke(app, text="gone")
