"""What goes wrong in the stock services where a definition is changed without taskroll. Cornserve 0.1.0, no agent."""

from __future__ import annotations

import asyncio
import base64

import pytest

from interop.fleet import DISPATCHER, GATEWAY, RESOURCE_MANAGER, Fleet
from interop.gateway import GatewayRefused
from interop.library import CLASSES, duet_app, library
from taskroll_agent.contracts import DefinitionContent

DESCRIPTOR = "ScribeDescriptor"
ALL = (*CLASSES, DESCRIPTOR)
UNSUPPORTED = "Updating existing modules is not supported yet"


@pytest.fixture
async def on_version_1(fleet: Fleet) -> Fleet:
    """All services have loaded version 1."""
    await fleet.gateway.deploy(library(1))
    await fleet.until_loaded(ALL, 1)
    return fleet


async def patch_all(fleet: Fleet, version: int) -> None:
    """Patch every definition, and wait until every service has seen each of the three."""
    for definition in library(version):
        await fleet.administrator.patch(definition)
    for service in fleet.stock:
        await service.until_logged(UNSUPPORTED, times=len(library(version)))


async def versions(fleet: Fleet, class_name: str) -> dict[str, int | None]:
    return {service.name: (await fleet.loaded(service.name)).versions.get(class_name) for service in fleet.stock}


def everywhere(fleet: Fleet, version: int | None) -> dict[str, int | None]:
    return {service.name: version for service in fleet.stock}


def unit_module(version: int, *class_names: str) -> str:
    """Source of a module of unit tasks."""
    classes = [
        f"class {name}(UnitTask[TaskInput, TaskOutput]):\n"
        f"    version: ClassVar[int] = {version}\n\n"
        f"    def make_record_output(self, task_input):\n"
        f"        return TaskOutput()\n"
        for name in class_names
    ]
    imports = "from typing import ClassVar\n\nfrom cornserve.task.base import TaskInput, TaskOutput, UnitTask\n"
    return "\n\n".join([imports, *classes])


def unit_definition(class_name: str, source: str, module: str) -> DefinitionContent:
    encoded = base64.b64encode(source.encode()).decode()
    spec = {"taskClassName": class_name, "moduleName": module, "sourceCode": encoded, "isUnitTask": True}
    return DefinitionContent(kind="TaskDefinition", name=class_name.lower(), spec=spec)


async def test_deploying_a_changed_library_again_answers_ok_and_changes_nothing(on_version_1: Fleet) -> None:
    # Definitions that are there are passed over: what is new in the same call shows that it has been carried out.
    marker = unit_definition("MarkerTask", unit_module(1, "MarkerTask"), "cornserve_tasklib.task.unit.marker")
    await on_version_1.gateway.deploy([*library(2), marker])

    await on_version_1.until_loaded(["MarkerTask"], 1)
    for name in ALL:
        assert await versions(on_version_1, name) == everywhere(on_version_1, 1)


async def test_a_patch_leaves_every_service_on_the_old_class_with_the_new_source_on_disk(on_version_1: Fleet) -> None:
    await patch_all(on_version_1, 2)

    for name in ALL:
        assert await versions(on_version_1, name) == everywhere(on_version_1, 1)
    for service in on_version_1.stock:
        written = service.folder / "tasklib" / "cornserve_tasklib" / "task" / "unit" / "scribe.py"
        assert "version: ClassVar[int] = 2" in written.read_text()
    app = await on_version_1.gateway.register(duet_app())
    await on_version_1.gateway.invoke(app, text="hello")
    assert [(one["unit"], "tone" in one) for one in await on_version_1.executor.received()] == [(1, False)] * 2


async def test_the_same_source_seen_again_is_logged_as_registered_and_is_not(on_version_1: Fleet) -> None:
    await patch_all(on_version_1, 2)
    scribe = next(definition for definition in library(2) if definition.class_name == "ScribeTask")

    await on_version_1.administrator.annotate(scribe, seen="again")

    for service in on_version_1.stock:
        await service.until_logged("Registered unit task: ScribeTask", times=2)
    assert await versions(on_version_1, "ScribeTask") == everywhere(on_version_1, 1)


async def test_an_annotation_on_a_descriptor_is_an_error_everywhere(on_version_1: Fleet) -> None:
    descriptor = next(definition for definition in library(1) if definition.class_name == DESCRIPTOR)

    await on_version_1.administrator.annotate(descriptor, owner="somebody")

    for service in on_version_1.stock:
        await service.until_logged(f"Descriptor {DESCRIPTOR} already registered for task ScribeTask")


async def test_one_restarted_dispatcher_alone_runs_the_new_class_and_answers_are_mixed(on_version_1: Fleet) -> None:
    await patch_all(on_version_1, 2)

    restarted = f"{DISPATCHER}-1"
    await on_version_1.restart(restarted)
    await on_version_1.until(lambda found: set(ALL) <= found.versions.keys(), "all classes")

    expected = {**everywhere(on_version_1, 1), restarted: 2}
    assert {name: await versions(on_version_1, name) for name in ALL} == dict.fromkeys(ALL, expected)
    app = await on_version_1.gateway.register(duet_app())
    answers = await asyncio.gather(*(on_version_1.gateway.invoke(app, text=str(n)) for n in range(12)))
    assert {answer["version"] for answer in answers} == {1}
    assert {one["unit"] for answer in answers for one in answer["received"]} == {1, 2}


@pytest.mark.parametrize("service", [GATEWAY, RESOURCE_MANAGER, f"{DISPATCHER}-0"])
async def test_where_the_definitions_of_one_module_disagree_the_first_wins_and_the_others_vanish(
    fleet: Fleet, service: str
) -> None:
    module = "cornserve_tasklib.task.unit.pair"
    both = {version: unit_module(version, "AltoTask", "TenorTask") for version in (1, 2)}
    alto, tenor = (unit_definition(name, both[1], module) for name in ("AltoTask", "TenorTask"))
    for definition in (alto, tenor):
        await fleet.administrator.create(definition)
    await fleet.until_loaded(["AltoTask", "TenorTask"], 1)

    await fleet.administrator.patch(unit_definition("TenorTask", both[2], module))
    await fleet[service].until_logged(UNSUPPORTED)
    await fleet.restart(service)
    await fleet[service].until_logged(UNSUPPORTED, times=2)

    assert (await fleet.loaded(service)).versions == {"AltoTask": 1}


async def test_a_definition_deleted_and_created_again_keeps_its_old_class(on_version_1: Fleet) -> None:
    changed = next(definition for definition in library(2) if definition.class_name == "ScribeTask")

    await on_version_1.administrator.delete(changed)
    await on_version_1.administrator.create(changed)

    for service in on_version_1.stock:
        await service.until_logged(UNSUPPORTED)
    assert await versions(on_version_1, "ScribeTask") == everywhere(on_version_1, 1)


async def test_a_task_declared_while_the_resource_manager_is_away_leaks_its_instance(on_version_1: Fleet) -> None:
    await on_version_1.kill(RESOURCE_MANAGER)

    with pytest.raises(GatewayRefused, match="500"):
        await on_version_1.gateway.use("ScribeTask")

    assert await on_version_1.gateway.tasks() == []
    assert len(await on_version_1.administrator.instances()) == 1


async def test_a_restarted_dispatcher_knows_none_of_the_tasks_deployed_before(on_version_1: Fleet) -> None:
    app = await on_version_1.gateway.register(duet_app())
    for name in (f"{DISPATCHER}-0", f"{DISPATCHER}-1"):
        await on_version_1.restart(name)
    await on_version_1.until_loaded(ALL, 1)

    with pytest.raises(GatewayRefused, match="Failed to invoke tasks"):
        await on_version_1.gateway.invoke(app, text="hello")

    for name in (f"{DISPATCHER}-0", f"{DISPATCHER}-1"):
        assert await on_version_1[name].run("return list(living('TaskDispatcher')[0].task_infos)") == []
    assert await on_version_1.gateway.apps() == {app: "ready"}
