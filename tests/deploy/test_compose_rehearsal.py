"""docker-compose.yml comes up: each service a process, with the programs of the pinned images. See `rehearsal`."""

from __future__ import annotations

import json
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import httpx
import pytest

from taskroll.devstack import StackInfo
from taskroll.devstack.binaries import locate
from taskroll.devstack.ports import LOOPBACK, pick_ports

from .checker import REPOSITORY, Checker, JsonObject
from .rehearsal import PORTS, Rehearsal, build_programs, find_postgresql
from .test_namespace_step import TemporalNamespace, expected_attributes

TOKEN = "only-for-this-test"
POSTGRESQL = find_postgresql()
pytestmark = pytest.mark.skipif(POSTGRESQL is None, reason="no PostgreSQL server is installed on this machine")


@pytest.fixture(scope="module")
def rehearsal(compose: JsonObject, checker: Checker) -> Iterator[Rehearsal]:
    """All of it, started in the order of docker-compose.yml."""
    assert POSTGRESQL
    programs = build_programs()
    with ExitStack() as ended:
        # Not pytest's own folder: another user than root could not reach it.
        folder = Path(ended.enter_context(tempfile.TemporaryDirectory(prefix="taskroll-rehearsal-")))
        all_of_it = Rehearsal(compose, checker, programs, POSTGRESQL, folder, pick_ports(PORTS), ended)
        all_of_it.start_postgresql()
        all_of_it.run_step("schema")
        all_of_it.start_temporal()
        all_of_it.run_step("namespace")
        all_of_it.start_ui()
        yield all_of_it


@pytest.fixture
def namespace(rehearsal: Rehearsal) -> TemporalNamespace:
    name = rehearsal.settings("worker")["TEMPORAL_NAMESPACE"]
    return TemporalNamespace(rehearsal.address, locate("temporal").path, name)


def test_the_server_runs_on_postgresql_with_the_settings_given(
    rehearsal: Rehearsal, namespace: TemporalNamespace, compose: JsonObject
) -> None:
    cluster = json.loads(namespace.temporal("operator", "cluster", "describe", "--output", "json"))
    wanted = compose["services"]["temporal"]["environment"]
    assert cluster["persistenceStore"] == cluster["visibilityStore"] == wanted["DB"]
    assert cluster["historyShardCount"] == int(wanted["NUM_HISTORY_SHARDS"])
    assert cluster["serverVersion"] == compose["services"]["temporal"]["image"].partition(":")[2]


async def test_the_worker_finds_its_namespace_and_attributes(
    rehearsal: Rehearsal, namespace: TemporalNamespace
) -> None:
    assert await namespace.attributes() == expected_attributes()
    assert rehearsal.settings("worker")["TEMPORAL_ADDRESS"] == namespace.address
    retention = rehearsal.settings("namespace")["TASKROLL_RETENTION"]
    assert retention in namespace.temporal("operator", "namespace", "describe", namespace.name)


def test_the_steps_change_nothing_the_second_time(rehearsal: Rehearsal) -> None:
    def state() -> list[str]:
        return [
            rehearsal.sql(database, f"SELECT * FROM {table} ORDER BY 1, 2, 3, 4")
            for database in ("temporal", "temporal_visibility")
            for table in ("schema_version", "schema_update_history")
        ] + [rehearsal.sql("temporal", "SELECT notification_version FROM namespace_metadata")]

    before = state()
    assert all(before)
    assert rehearsal.run_step("schema").endswith("schema: done\n")
    assert "is ready" in rehearsal.run_step("namespace")
    assert state() == before


def test_the_database_wants_the_password(rehearsal: Rehearsal) -> None:
    settings = rehearsal.settings("schema") | {"SQL_PASSWORD": "another"}
    script = REPOSITORY / "deploy/compose/schema.sh"
    refused = subprocess.run(["/bin/sh", script], env=settings, capture_output=True, text=True)
    assert refused.returncode != 0
    assert "password authentication failed" in refused.stdout + refused.stderr


@pytest.mark.parametrize("absent", ["SQL_PLUGIN", "SQL_HOST", "SQL_PORT", "SQL_USER", "SQL_PASSWORD"])
def test_the_schema_step_wants_its_settings(rehearsal: Rehearsal, absent: str) -> None:
    settings = rehearsal.settings("schema")
    del settings[absent]
    script = REPOSITORY / "deploy/compose/schema.sh"
    refused = subprocess.run(["/bin/sh", script], env=settings, capture_output=True, text=True)
    assert refused.returncode != 0
    assert absent in refused.stderr


def test_the_ui_shows_the_namespace(rehearsal: Rehearsal, namespace: TemporalNamespace) -> None:
    with httpx.Client(base_url=f"http://{LOOPBACK}:{rehearsal.ports['ui']}", trust_env=False) as http:
        settings = http.get("/api/v1/settings").json()
        assert (settings["DefaultNamespace"], settings["DisableWriteActions"]) == (namespace.name, False)
        shown = http.get(f"/api/v1/namespaces/{namespace.name}").json()["namespaceInfo"]
        assert (shown["name"], shown["state"]) == (namespace.name, "NAMESPACE_STATE_REGISTERED")
        # Without this an approval from the UI would be refused: the browser would not send a cookie for TLS alone.
        cookie = http.get("/").headers["set-cookie"]
        assert "_csrf=" in cookie
        assert "Secure" not in cookie


def test_worker_and_endpoint_run(rehearsal: Rehearsal, installed_stack: StackInfo, compose: JsonObject) -> None:
    (rehearsal.folder / "token").write_text(TOKEN)
    kubeconfig, token = str(installed_stack.kubeconfig), str(rehearsal.folder / "token")
    rehearsal.start_ours("worker", ["taskroll-worker"], {"kubeconfig": kubeconfig, "agent-token": token})
    command = compose["services"]["http"]["entrypoint"]
    moved = {"0.0.0.0": LOOPBACK, "8470": str(rehearsal.ports["http"])}
    command = [moved.get(word, word) for word in command]
    rehearsal.start_ours("http", command, {"kubeconfig": kubeconfig, "http-token": token})

    with httpx.Client(base_url=f"http://{LOOPBACK}:{rehearsal.ports['http']}", trust_env=False) as http:
        assert http.get("/task-updates").status_code == 401
        listed = http.get("/task-updates", headers={"Authorization": f"Bearer {TOKEN}"})
        assert listed.status_code == 200, listed.text
    # Uvicorn ends in good order, and then by the signal itself.
    assert rehearsal.stop("http") in (0, -signal.SIGTERM)
    assert rehearsal.stop("worker") == 0


def test_workflows_survive_a_restart_of_all_of_it(rehearsal: Rehearsal, namespace: TemporalNamespace) -> None:
    values = {"TaskrollPhase": "plan", "TaskrollDefinitions": ["a", "b"], "TaskrollRequestedBy": "ada"}
    attributes = [
        word for name, value in values.items() for word in ("--search-attribute", f"{name}={json.dumps(value)}")
    ]
    which = ["--workflow-id", "task-update/rehearsal/1"]
    start = ["--type", "Nothing", "--task-queue", "nobody", *attributes]
    namespace.temporal("workflow", "start", *which, *start)

    assert rehearsal.stop("temporal") == 0
    assert rehearsal.stop("postgresql") == 0
    rehearsal.start_postgresql()
    rehearsal.start_temporal()

    described = json.loads(namespace.temporal("workflow", "describe", *which, "--output", "json"))
    assert described["workflowExecutionInfo"]["status"] == "WORKFLOW_EXECUTION_STATUS_RUNNING"
    found = namespace.temporal("workflow", "list", "--query", "TaskrollDefinitions IN ('b') AND TaskrollPhase='plan'")
    assert which[1] in found
