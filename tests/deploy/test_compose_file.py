"""docker-compose.yml: valid by the Compose specification and by rules of our own, each of them seen to fail as well."""

from __future__ import annotations

import copy
import re
import subprocess
import sys
import tomllib
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread

import pytest
import yaml

from taskroll.devstack.versions import BINARIES
from taskroll.services.configuration_file import load_services
from worker.settings import WorkerSettings

from .checker import PASSWORD, REPOSITORY, Checker, JsonObject, Refused, compose_environment, taskroll_variables

FILE = REPOSITORY / "docker-compose.yml"
STEPS = {"schema", "namespace"}
SERVERS = {"postgresql", "temporal", "ui", "worker", "http"}


def test_is_valid_and_holds_the_services(compose: JsonObject) -> None:
    assert set(compose["services"]) == STEPS | SERVERS
    assert {name for name, service in compose["services"].items() if service.get("profiles")} == {"http"}


@pytest.mark.parametrize(
    ("text", "mistake", "words"),
    [
        ("stop_grace_period: 60s", "stop_grace_perod: 60s", "postgresql.*stop_grace_perod"),
        ("name: taskroll", "name: taskroll\nservice: {}", "service"),
        ("  schema:\n    <<", "  schema:\n    ports: 80\n    <<", "schema.ports"),
        (
            "temporal: {condition: service_healthy}",
            "temporl: {condition: service_healthy}",
            "service.*temporl",
        ),
        ("{condition: service_healthy}", "{condition: service_wealthy}", "condition"),
        ("- postgresql-data:", "- postgres-data:", "undefined volume.*postgres-data"),
        ("networks: [control]", "networks: [contrl]", "undefined network.*contrl"),
        ("secrets: [kubeconfig, agent-token]", "secrets: [kubeconfig, agent-tokn]", "undefined secret.*agent-tokn"),
        ("networks: [database]\n    # By", "depends_on: [worker]\n    # By", "cycle"),
        ("interval: 15s", "interval: 15 apples", "interval"),
        ("${TASKROLL_POSTGRES_PASSWORD:?", "${TASKROLL_POSTGRES_PASWORD:?", "TASKROLL_POSTGRES_PASWORD"),
        ("${TASKROLL_WORKER_USER:-10001:10001}", "${TASKROLL_WORKER_USER}", "TASKROLL_WORKER_USER.*not set"),
    ],
)
def test_a_mistake_is_refused(checker: Checker, tmp_path: Path, text: str, mistake: str, words: str) -> None:
    original = FILE.read_text()
    assert text in original
    wrong = tmp_path / FILE.name
    wrong.write_text(original.replace(text, mistake, 1))
    with pytest.raises(Refused, match=f"(?s){words}"):
        checker.compose(wrong, compose_environment())


@pytest.mark.parametrize("absent", compose_environment())
def test_no_secret_has_a_default(checker: Checker, absent: str) -> None:
    environment = compose_environment()
    del environment[absent]
    with pytest.raises(Refused, match=f"{absent} is missing a value.*see deploy/compose/example.env"):
        checker.compose(FILE, environment)


# Rules of our own: each takes the model and gives what is against it.

Rule = Callable[[JsonObject], Iterator[str]]


def images_are_pinned(compose: JsonObject) -> Iterator[str]:
    for name, service in compose["services"].items():
        if not re.fullmatch(r"[a-z][a-z/-]*:\d+\.\d+(\.\d+)?(-[\w.-]+)?", service["image"]):
            yield name


def servers_have_health_checks(compose: JsonObject) -> Iterator[str]:
    for name, service in compose["services"].items():
        check = service.get("healthcheck", {})
        if name in SERVERS and not (check.get("test") and check.get("interval") and check.get("timeout")):
            yield name


def servers_restart_and_steps_do_not(compose: JsonObject) -> Iterator[str]:
    for name, service in compose["services"].items():
        if service.get("restart") != ("unless-stopped" if name in SERVERS else "no"):
            yield name


def dependencies_wait_for_what_they_need(compose: JsonObject) -> Iterator[str]:
    for name, service in compose["services"].items():
        for needed, how in service.get("depends_on", {}).items():
            wanted = "service_healthy" if needed in SERVERS else "service_completed_successfully"
            if how["condition"] != wanted:
                yield f"{name} → {needed}"


def ports_are_on_the_loopback(compose: JsonObject) -> Iterator[str]:
    for name, service in compose["services"].items():
        for port in service.get("ports", []):
            if port.get("host_ip") != "127.0.0.1":
                yield name


def the_database_is_on_a_named_volume_and_shut_in(compose: JsonObject) -> Iterator[str]:
    service = compose["services"]["postgresql"]
    mounts = {mount["target"]: mount for mount in service.get("volumes", [])}
    mount = mounts.get("/var/lib/postgresql/data", {})
    if mount.get("type") != "volume" or mount.get("source") not in compose["volumes"]:
        yield "no named volume"
    if not all(compose["networks"][network].get("internal") for network in service["networks"]):
        yield "a network with a way out"


def privileges_are_dropped(compose: JsonObject) -> Iterator[str]:
    for name, service in compose["services"].items():
        # The image of PostgreSQL starts as root, to hand its folder to its own user.
        dropped = service.get("cap_drop") == ["ALL"] or name == "postgresql"
        if not dropped or "no-new-privileges:true" not in service.get("security_opt", []) or service.get("privileged"):
            yield name


def secrets_come_from_outside(compose: JsonObject) -> Iterator[str]:
    for name, service in compose["services"].items():
        for variable, value in service.get("environment", {}).items():
            if re.search("PASSWORD|PWD|TOKEN|SECRET", variable) and value != PASSWORD and not value.startswith("/run/"):
                yield f"{name}: {variable}"


def logs_are_bounded(compose: JsonObject) -> Iterator[str]:
    for name, service in compose["services"].items():
        if not service.get("logging", {}).get("options", {}).get("max-size"):
            yield name


def mounted_files_are_there(compose: JsonObject) -> Iterator[str]:
    for name, service in compose["services"].items():
        for mount in service.get("volumes", []):
            if mount["type"] == "bind" and not (Path(mount["source"]).is_file() and mount.get("read_only")):
                yield f"{name}: {mount['source']}"


RULES: dict[Rule, Callable[[JsonObject], object]] = {
    images_are_pinned: lambda services: services["ui"].update(image="temporalio/ui:latest"),
    servers_have_health_checks: lambda services: services["ui"].pop("healthcheck"),
    servers_restart_and_steps_do_not: lambda services: services["worker"].pop("restart"),
    dependencies_wait_for_what_they_need: lambda services: services["worker"]["depends_on"]["temporal"].update(
        condition="service_started"
    ),
    ports_are_on_the_loopback: lambda services: services["temporal"]["ports"][0].pop("host_ip"),
    the_database_is_on_a_named_volume_and_shut_in: lambda services: services["postgresql"]["networks"].update(
        control=None
    ),
    privileges_are_dropped: lambda services: services["worker"].pop("cap_drop"),
    secrets_come_from_outside: lambda services: services["temporal"]["environment"].update(POSTGRES_PWD="temporal"),
    logs_are_bounded: lambda services: services["schema"].pop("logging"),
    mounted_files_are_there: lambda services: services["schema"]["volumes"][0].update(source="/no/such/schema.sh"),
}


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_our_rules(compose: JsonObject, rule: Rule) -> None:
    assert list(rule(compose)) == []
    wrong = copy.deepcopy(compose)
    RULES[rule](wrong["services"])
    assert list(rule(wrong))


def test_versions_are_those_of_the_dev_stack(compose: JsonObject) -> None:
    cli = BINARIES["temporal"].pinned
    pins = (REPOSITORY / "taskroll/devstack/gobuild/temporal/go.mod").read_text()
    server = re.findall(r"go\.temporal\.io/server v(\S+)", pins)
    ui = re.findall(r"github\.com/temporalio/ui-server/v2 v(\S+)", pins)
    rehearsed = (Path(__file__).parent / "temporal/go.mod").read_text()
    images = {name: service["image"].partition(":")[2] for name, service in compose["services"].items()}
    assert [images["temporal"]] == server == re.findall(r"go\.temporal\.io/server v(\S+)", rehearsed)
    assert [images["ui"]] == ui == re.findall(r"github\.com/temporalio/ui-server/v2 v(\S+)", rehearsed)
    assert images["schema"] == images["namespace"]
    assert re.fullmatch(rf"{re.escape(server[0])}-tctl-[\d.]+-cli-{cli.major}\.{cli.minor}\.\d+", images["schema"])
    assert images["worker"] == images["http"] == taskroll_version()


def taskroll_version() -> str:
    return tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]["version"]


def test_the_worker_gets_settings_that_it_knows(compose: JsonObject, monkeypatch: pytest.MonkeyPatch) -> None:
    worker = compose["services"]["worker"]
    variables = taskroll_variables(worker["environment"])
    assert {name.removeprefix("TASKROLL_").lower() for name in variables} <= set(WorkerSettings.model_fields)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    settings = WorkerSettings()
    secrets = {secret["target"] for secret in worker["secrets"]}
    assert str(settings.services) in {mount["target"] for mount in worker["volumes"]}
    assert str(settings.kubeconfig) in secrets
    assert settings.graceful_shutdown_timeout < seconds(worker["stop_grace_period"])
    assert settings.listen == f"0.0.0.0:{worker['ports'][0]['target']}"
    example = load_services(REPOSITORY / "deploy/compose/services.yaml", check_tokens=False)
    assert {service.token.file for service in example.services if service.token} <= secrets


def seconds(duration: str) -> int:
    """Of a duration as Compose writes it: 1m0s."""
    return sum(int(number) * {"m": 60, "s": 1}[unit] for number, unit in re.findall(r"(\d+)([ms])", duration))


@pytest.mark.parametrize("service", ["worker", "http"])
@pytest.mark.parametrize(("status", "healthy"), [(200, True), (503, False), (None, False)])
def test_health_checks_of_our_own(compose: JsonObject, service: str, status: int | None, healthy: bool) -> None:
    kind, python, *arguments, port, path = compose["services"][service]["healthcheck"]["test"]
    assert (kind, python, int(port)) == ("CMD", "python", compose["services"][service]["ports"][0]["target"])

    class Answer(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status if self.path == path and status else 404)
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Answer) as server:
        if status is None:
            server.server_close()
        else:
            Thread(target=server.handle_request, daemon=True).start()
        asked = subprocess.run(
            [sys.executable, *arguments, str(server.server_port), path], stderr=subprocess.DEVNULL, timeout=20
        )
    assert (asked.returncode == 0) == healthy


def test_dynamic_configuration_says_what_the_dev_stack_says() -> None:
    from taskroll.devstack.components import DYNAMIC_CONFIG

    entries = yaml.safe_load((REPOSITORY / "deploy/compose/dynamicconfig.yaml").read_text())
    said = {key: str(values[0]["value"]).lower() for key, values in entries.items() if len(values) == 1}
    assert said == dict(DYNAMIC_CONFIG)
