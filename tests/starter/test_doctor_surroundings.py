"""``taskroll doctor`` where what an update relies on is missing: API server, kinds, policies, Temporal, workers."""

import shutil
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from temporalio import workflow
from temporalio.client import WorkflowHandle
from temporalio.service import RPCError, RPCStatusCode
from temporalio.worker import UnsandboxedWorkflowRunner, Worker

from starter import worker_questions
from starter.client import TaskrollClient
from starter.doctor.commands import Commands
from starter.doctor.findings import Finding
from starter.doctor.place import Place as Examined
from starter.doctor.workers import check_workers
from starter.observation import Observations
from starter.settings import Settings
from starter.temporal_connection import NoWorker
from taskroll.devstack import DevStack
from taskroll.models.names import workflow_id

from .place import Place, environ_of
from .test_doctor import finding
from .test_observation import stand_in


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


@workflow.defn(name="WorkerRights")
class LacksNothing:
    """Stands in for the question that a worker of any version answers."""

    @workflow.run
    async def run(self, namespace: str) -> list[str]:
        return []


@asynccontextmanager
async def old_worker(client: TaskrollClient) -> AsyncGenerator[None]:
    async with Worker(
        await client.temporal.client(),
        task_queue=client.settings.task_queue,
        workflows=[LacksNothing],
        workflow_runner=UnsandboxedWorkflowRunner(),
        identity="taskroll-worker 0.0.1 7@elsewhere",
    ):
        while not await client.temporal.pollers():
            pass
        yield


async def workers_seen_by(client: TaskrollClient) -> list[Finding]:
    return await check_workers(
        Examined(
            settings=client.settings,
            cluster=await client.cluster.connection(),
            temporal=client.temporal,
            observations=Observations(client.settings, client.temporal, client.cluster),
            commands=Commands(client.settings),
        )
    )


async def test_a_worker_of_another_version_is_named(idle_client: TaskrollClient) -> None:
    async with old_worker(idle_client):
        found, rights = await workers_seen_by(idle_client)
    assert (found.state, rights.state) == ("warning", "ok")
    queue = idle_client.settings.task_queue
    assert found.message.startswith(f"workers of version 0.0.1 poll task queue '{queue}', and this tool is ")


async def test_a_worker_that_has_ended_is_no_worker(
    idle_client: TaskrollClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Temporal's list of pollers goes on for minutes to name it."""
    monkeypatch.setattr(worker_questions, "PICKUP_TIMEOUT", timedelta(seconds=1))
    async with old_worker(idle_client):
        pass
    assert await idle_client.temporal.pollers()
    found, rights = await workers_seen_by(idle_client)
    assert (found.state, rights.state) == ("problem", "skipped")
    assert "answers: no update goes on" in found.message
    assert found.details[0].startswith("taskroll-worker 0.0.1 7@elsewhere, last asked for work ")
    assert found.remedies[0].command == f"taskroll-worker --task-queue {idle_client.settings.task_queue}"


async def test_a_query_of_which_temporal_saw_no_poller_does_not_blame_temporal(
    idle_client: TaskrollClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def refuse(*_: object, **__: object) -> None:
        message = "no poller seen for task queue recently, worker may be down"
        raise RPCError(message, RPCStatusCode.FAILED_PRECONDITION, b"")

    temporal, request_id = await stand_in(idle_client, None)
    monkeypatch.setattr(WorkflowHandle, "query", refuse)
    with pytest.raises(NoWorker, match=r"no worker polls it\. Start one: taskroll-worker") as unavailable:
        await idle_client.status(request_id)
    assert "cannot be reached" not in unavailable.value.message
    await temporal.get_workflow_handle(workflow_id(idle_client.settings.namespace, request_id)).terminate()


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
