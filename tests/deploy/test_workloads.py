"""deploy/workloads: rendered by kustomize's own library, then admitted by the real API server, in dry runs."""

from __future__ import annotations

import copy
import re
import shutil
import ssl
import uuid
from base64 import b64decode
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest
import yaml

from starter.http.app import create_app as create_http_app
from starter.http.tokens import BearerTokens
from starter.settings import Settings
from taskroll.devstack import StackInfo
from taskroll.services.configuration_file import parse_services
from worker.health import create_app as create_worker_app
from worker.settings import WorkerSettings

from .checker import REPOSITORY, Checker, JsonObject, Refused, taskroll_variables
from .test_compose_file import taskroll_version

COLLECTIONS = {
    "ConfigMap": "api/v1/namespaces/{}/configmaps",
    "Deployment": "apis/apps/v1/namespaces/{}/deployments",
    "Pod": "api/v1/namespaces/{}/pods",
    "PodDisruptionBudget": "apis/policy/v1/namespaces/{}/poddisruptionbudgets",
    "Service": "api/v1/namespaces/{}/services",
}


@dataclass(frozen=True)
class DryRuns:
    """The real API server, in a namespace that admits only pods of the strictest standard and keeps nothing."""

    http: httpx.Client
    namespace: str

    def create(self, given: JsonObject) -> httpx.Response:
        """Have an object admitted, unknown fields refused."""
        obj = copy.deepcopy(given)
        obj["metadata"]["namespace"] = self.namespace
        path = COLLECTIONS[obj["kind"]].format(self.namespace)
        return self.http.post(path, params={"dryRun": "All", "fieldValidation": "Strict"}, json=obj)


@pytest.fixture(scope="module")
def dry_runs(stack: StackInfo) -> Iterator[DryRuns]:
    config = yaml.safe_load(stack.kubeconfig.read_text())
    authority = b64decode(config["clusters"][0]["cluster"]["certificate-authority-data"]).decode()
    token = next(entry["user"]["token"] for entry in config["users"] if entry["name"] == stack.kube_context)
    namespace = f"deploy-{uuid.uuid4().hex[:8]}"
    with httpx.Client(
        base_url=stack.kube_url,
        headers={"Authorization": f"Bearer {token}"},
        verify=ssl.create_default_context(cadata=authority),
        trust_env=False,
    ) as http:
        standard = {f"pod-security.kubernetes.io/{mode}": "restricted" for mode in ("enforce", "warn")}
        http.post("api/v1/namespaces", json={"metadata": {"name": namespace, "labels": standard}}).raise_for_status()
        yield DryRuns(http, namespace)
        http.delete(f"api/v1/namespaces/{namespace}")


def deployment(workloads: list[JsonObject], name: str) -> JsonObject:
    return next(obj for obj in workloads if obj["kind"] == "Deployment" and obj["metadata"]["name"] == name)


def pod_of(workload: JsonObject) -> JsonObject:
    template = workload["spec"]["template"]
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": workload["metadata"]["name"], "labels": template["metadata"]["labels"]},
        "spec": template["spec"],
    }


def test_the_api_server_admits_every_object(workloads: list[JsonObject], dry_runs: DryRuns) -> None:
    assert sorted(obj["kind"] for obj in workloads) == [
        *["ConfigMap"] * 3,
        *["Deployment"] * 2,
        *["PodDisruptionBudget"] * 2,
        "Service",
    ]
    for obj in workloads:
        answer = dry_runs.create(obj)
        assert answer.status_code == 201, f"{obj['kind']} {obj['metadata']['name']}: {answer.text}"
        # Such as «would violate PodSecurity», or a field that is going away.
        assert "warning" not in answer.headers


@pytest.mark.parametrize("name", ["taskroll-worker", "taskroll-http"])
def test_pods_are_admitted_by_the_strictest_standard(workloads: list[JsonObject], dry_runs: DryRuns, name: str) -> None:
    answer = dry_runs.create(pod_of(deployment(workloads, name)))
    assert answer.status_code == 201, answer.text


# What is wrong in the pod's spec, and how the API server says so.
MISTAKES: dict[str, tuple[Callable[[JsonObject], object], int, str]] = {
    "unknown field": (lambda spec: spec.update(serviceAcountName="taskroll"), 400, "unknown field"),
    "mount without a volume": (
        lambda spec: spec["containers"][0]["volumeMounts"][0].update(name="x"),
        422,
        "Not found",
    ),
    "capabilities": (lambda spec: spec["containers"][0]["securityContext"].pop("capabilities"), 403, "PodSecurity"),
    "root": (lambda spec: spec["securityContext"].update(runAsUser=0), 403, "PodSecurity"),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_is_refused(workloads: list[JsonObject], dry_runs: DryRuns, mistake: str) -> None:
    make, status, words = MISTAKES[mistake]
    pod = copy.deepcopy(pod_of(deployment(workloads, "taskroll-worker")))
    make(pod["spec"])
    answer = dry_runs.create(pod)
    assert (answer.status_code, words in answer.text) == (status, True), answer.text


def test_a_warning_would_be_seen(workloads: list[JsonObject], dry_runs: DryRuns) -> None:
    wrong = copy.deepcopy(deployment(workloads, "taskroll-worker"))
    wrong["spec"]["template"]["spec"]["securityContext"].pop("seccompProfile")
    answer = dry_runs.create(wrong)
    assert answer.status_code == 201
    assert "would violate PodSecurity" in answer.headers["warning"]


def ports_of_probes(spec: JsonObject) -> Iterator[tuple[str, set[str]]]:
    """The port that each probe names, and those that its container has: only the kubelet would miss one."""
    for container in spec["containers"]:
        ports = {port["name"] for port in container["ports"]}
        for kind in ("startupProbe", "livenessProbe", "readinessProbe"):
            yield container[kind]["httpGet"]["port"], ports


def test_probes_lead_to_what_the_processes_serve(workloads: list[JsonObject]) -> None:
    for name in ("taskroll-worker", "taskroll-http"):
        for port, ports in ports_of_probes(deployment(workloads, name)["spec"]["template"]["spec"]):
            assert port in ports
    served = {
        "taskroll-worker": create_worker_app(_nothing_wrong, None),
        "taskroll-http": create_http_app(Settings(), BearerTokens(["0123456789abcdef"])),
    }
    for name, app in served.items():
        container = deployment(workloads, name)["spec"]["template"]["spec"]["containers"][0]
        wanted = {container[f"{kind}Probe"]["httpGet"]["path"] for kind in ("startup", "liveness", "readiness")}
        assert wanted <= {getattr(route, "path", "") for route in app.routes}
        # A worker that has lost Temporal for a while must not be started again for it.
        assert container["livenessProbe"]["httpGet"]["path"] == "/healthz"


async def _nothing_wrong() -> dict[str, str]:
    return {}


def test_the_worker_gets_settings_that_it_knows(workloads: list[JsonObject], monkeypatch: pytest.MonkeyPatch) -> None:
    spec = deployment(workloads, "taskroll-worker")["spec"]["template"]["spec"]
    container = spec["containers"][0]
    variables = taskroll_variables({entry["name"]: entry["value"] for entry in container["env"]})
    assert {name.removeprefix("TASKROLL_").lower() for name in variables} <= set(WorkerSettings.model_fields)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    settings = WorkerSettings()
    assert settings.listen == f"0.0.0.0:{container['ports'][0]['containerPort']}"
    assert settings.graceful_shutdown_timeout < spec["terminationGracePeriodSeconds"]
    mounts = {mount["name"]: mount["mountPath"] for mount in container["volumeMounts"]}
    assert str(settings.services.parent) == mounts["services"]

    (generated,) = [obj for obj in workloads if obj["metadata"]["name"].startswith("taskroll-services-")]
    assert generated["metadata"]["name"] == spec["volumes"][0]["configMap"]["name"]
    example = parse_services(generated["data"][settings.services.name], settings.services.name)
    assert {service.token.file for service in example.services if service.token} == {f"{mounts['agent-token']}/token"}


def test_names_agree_with_the_rest_of_deploy(checker: Checker, workloads: list[JsonObject]) -> None:
    accounts = {
        (obj["metadata"]["namespace"], obj["metadata"]["name"])
        for obj in checker.kustomize(REPOSITORY / "deploy")
        if obj["kind"] == "ServiceAccount"
    }
    for obj in workloads:
        if obj["kind"] == "Deployment":
            spec = obj["spec"]["template"]["spec"]
            assert (obj["metadata"]["namespace"], spec["serviceAccountName"]) in accounts
            assert [container["image"] for container in spec["containers"]] == [f"taskroll:{taskroll_version()}"]


def test_the_documented_overlay_works(checker: Checker, tmp_path: Path) -> None:
    shutil.copytree(REPOSITORY / "deploy/workloads", tmp_path / "deploy/workloads")
    (overlay,) = re.findall(r"```yaml\n(.+?)```", (REPOSITORY / "docs/production.md").read_text(), re.DOTALL)
    (tmp_path / "my-taskroll").mkdir()
    (tmp_path / "my-taskroll/kustomization.yaml").write_text(overlay)
    (tmp_path / "my-taskroll/services.yaml").write_text("services: mine")
    rendered = checker.kustomize(tmp_path / "my-taskroll")
    data = {key: value for obj in rendered if obj["kind"] == "ConfigMap" for key, value in obj["data"].items()}
    assert data == {
        "services.yaml": "services: mine",
        "TEMPORAL_ADDRESS": "temporal.example.org:7233",
        "TEMPORAL_NAMESPACE": "default",
    }
    (container,) = deployment(rendered, "taskroll-worker")["spec"]["template"]["spec"]["containers"]
    assert container["image"] == f"registry.example.org/taskroll:{taskroll_version()}"


@pytest.mark.parametrize(
    ("file", "text", "mistake", "words"),
    [
        ("kustomization.yaml", "- worker.yaml", "- workr.yaml", "workr.yaml"),
        ("kustomization.yaml", "configMapGenerator", "configMapGenrator", "unknown field"),
        ("worker.yaml", "kind: Deployment", "kind:", "missing metadata.name|missing Kind|kind"),
    ],
)
def test_kustomize_refuses_a_mistake(
    checker: Checker, tmp_path: Path, file: str, text: str, mistake: str, words: str
) -> None:
    for source in (REPOSITORY / "deploy/workloads").glob("*.yaml"):
        content = source.read_text()
        if source.name == file:
            assert text in content
            content = content.replace(text, mistake, 1)
        (tmp_path / source.name).write_text(content)
    with pytest.raises(Refused, match=words):
        checker.kustomize(tmp_path)
