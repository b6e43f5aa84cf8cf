"""``taskroll doctor`` where what an update relies on is missing: API server, kinds, policies, Temporal, workers."""

import shutil
from pathlib import Path
from typing import Any

import pytest
from temporalio.worker import Worker

from starter.client import TaskrollClient
from starter.doctor.commands import Commands
from starter.doctor.place import Place as Examined
from starter.doctor.temporal import check_temporal
from starter.observation import Observations
from starter.settings import Settings
from taskroll.devstack import DevStack
from workflows.task_versions import TaskVersionsWorkflow

from .place import Place, environ_of
from .test_doctor import finding


async def test_no_worker(idle_place: Place) -> None:
    ran = await idle_place.run("doctor", "-o", "json")
    assert ran.code == 16
    found = finding(ran, "workers")
    assert (found["state"], finding(ran, "replicas")["state"]) == ("problem", "skipped")
    queue = idle_place.settings.task_queue
    assert found["remedies"][0]["command"] == f"taskroll-worker --task-queue {queue}"


async def test_a_worker_is_known_by_its_version(place: Place) -> None:
    from importlib.metadata import version

    found = finding(await place.run("doctor", "-o", "json"), "workers")
    assert any(line.startswith(f"taskroll-worker {version('taskroll')} ") for line in found["details"])


async def test_a_worker_of_another_version_is_named(idle_client: TaskrollClient) -> None:
    examined = Examined(
        settings=idle_client.settings,
        cluster=await idle_client.cluster.connection(),
        temporal=idle_client.temporal,
        observations=Observations(idle_client.settings, idle_client.temporal, idle_client.cluster),
        commands=Commands(idle_client.settings),
    )
    queue = idle_client.settings.task_queue
    old = Worker(
        await idle_client.temporal.client(),
        task_queue=queue,
        workflows=[TaskVersionsWorkflow],
        identity="taskroll-worker 0.0.1 7@elsewhere",
    )
    async with old:
        while (found := (await check_temporal(examined))[2]).state == "problem":
            assert "no worker polls" in found.message
    assert found.state == "warning"
    assert found.message.startswith(f"workers of version 0.0.1 poll task queue '{queue}', and this tool is ")


async def test_without_temporal_the_cluster_is_looked_at_all_the_same(place: Place) -> None:
    ran = await place.run("doctor", "-o", "json", TEMPORAL_ADDRESS="127.0.0.1:1")
    assert ran.code == 16
    assert "cannot be reached" in finding(ran, "temporal", "problem")["message"]
    assert finding(ran, "replicas")["state"] == "skipped"
    assert finding(ran, "records")["state"] == "ok"


async def test_without_an_api_server_temporal_is_looked_at_all_the_same(place: Place, tmp_path: Any) -> None:
    text = place.stack.kubeconfig.read_text().replace(place.stack.kube_url, "https://127.0.0.1:1")
    (tmp_path / "elsewhere").write_text(text)
    ran = await place.run("doctor", "-o", "json", KUBECONFIG=str(tmp_path / "elsewhere"))
    assert ran.code == 16
    assert "cannot be reached" in finding(ran, "api-server", "problem")["message"]
    assert finding(ran, "workers")["state"] == "ok"


async def test_a_temporal_namespace_and_its_search_attributes_are_made_by_the_commands(place: Place) -> None:
    fresh = place.settings.namespace
    lacking = finding(await place.run("doctor", "-o", "json", TEMPORAL_NAMESPACE=fresh), "temporal", "problem")
    assert f"has no namespace '{fresh}'" in lacking["message"]
    made = await place.shell(lacking["remedies"][0]["command"])
    assert made.code == 0, made.err

    async def looked_at() -> dict[str, Any]:
        """The namespace is new, and Temporal's caches hear of it within some seconds."""
        while True:
            ran = await place.run("doctor", "-o", "json", TEMPORAL_NAMESPACE=fresh)
            if finding(ran, "temporal")["state"] == "ok":
                return finding(ran, "search-attributes")

    found = await looked_at()
    assert found["state"] == "problem"
    assert "TaskrollPhase" in found["details"]
    assert (await place.shell(found["remedies"][0]["command"])).code == 0
    while (await looked_at())["state"] != "ok":
        pass


async def test_a_cluster_with_nothing_on_it_is_set_up_by_the_commands(tmp_path: Path) -> None:
    if shutil.which("kubectl") is None:
        pytest.skip("the commands are kubectl's, and this machine has none")
    with DevStack(tmp_path) as stack:
        settings = Settings(
            namespace="default",
            kubeconfig=str(stack.kubeconfig),
            context="admin",
            temporal_address=stack.temporal_address,
        )
        place = Place(settings, stack, environ_of(settings))
        bare = await place.run("doctor", "-o", "json")
        assert bare.code == 16
        assert finding(bare, "crds")["details"] == [
            "taskupdates (taskroll.dev/v1)",
            "taskdefinitions (cornserve.ai/v1)",
            "executiondescriptors (cornserve.ai/v1)",
            "unittaskinstances (cornserve.ai/v1)",
        ]
        assert finding(bare, "records")["state"] == "skipped"
        remedies = [*finding(bare, "crds")["remedies"], *finding(bare, "admission")["remedies"]]
        for remedy in remedies:
            ran = await place.shell(remedy["command"])
            assert ran.code == 0, ran.err
        while (after := finding(await place.run("doctor", "-o", "json"), "records"))["state"] != "ok":
            assert after["state"] == "skipped", after
        settled = (await place.run("doctor", "-o", "json")).document()["findings"]
        assert {each["check"] for each in settled if each["state"] == "problem"} == {"workers"}


async def test_a_policy_that_is_not_bound_is_installed_by_the_command(place: Place, without_a_policy: str) -> None:
    found = finding(await place.run("doctor", "-o", "json"), "admission", "problem")
    assert without_a_policy in found["message"]
    if shutil.which("kubectl") is None:
        pytest.skip("the command is one of kubectl's, and this machine has none")
    assert (await place.shell(found["remedies"][0]["command"])).code == 0
    while finding(await place.run("doctor", "-o", "json"), "admission")["state"] != "ok":
        pass


async def test_a_policy_that_is_bound_and_does_not_act(place: Place, unheeded_policy: str) -> None:
    found = finding(await place.run("doctor", "-o", "json"), "admission", "problem")
    assert "still lets admin write ConfigMap/taskroll-fence" in found["message"]
