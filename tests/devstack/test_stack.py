"""What a running stack offers. Uses the session's stack."""

from __future__ import annotations

import asyncio
import json
import uuid
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest
from kubernetes import aio as kubernetes
from temporalio.client import Client
from temporalio.common import SearchAttributeKey, SearchAttributePair, TypedSearchAttributes

from taskroll.devstack import StackInfo, running_stack, stack_status

Eventually = Callable[..., None]


async def _api(stack: StackInfo, context: str) -> kubernetes.client.ApiClient:
    return await kubernetes.config.new_client_from_config(str(stack.kubeconfig), context=context)


async def _may(stack: StackInfo, context: str, verb: str, resource: str) -> bool:
    async with await _api(stack, context) as api:
        review = await kubernetes.client.AuthorizationV1Api(api).create_self_subject_access_review(
            {"spec": {"resourceAttributes": {"verb": verb, "resource": resource, "namespace": "default"}}},
            _request_timeout=10,
        )
        return bool(review.status.allowed)


async def test_contexts_are_distinct_users_under_rbac(stack: StackInfo) -> None:
    assert await _may(stack, "admin", "create", "configmaps")
    assert not await _may(stack, "developer", "create", "configmaps")
    assert not await _may(stack, "taskroll", "create", "configmaps")
    names: dict[str, tuple[str, set[str]]] = {}
    for context in ("admin", "taskroll", "developer"):
        async with await _api(stack, context) as api:
            review = await kubernetes.client.AuthenticationV1Api(api).create_self_subject_review(
                {}, _request_timeout=10
            )
            names[context] = (review.status.user_info.username, set(review.status.user_info.groups))
    assert {context: name for context, (name, _) in names.items()} == {
        "admin": "admin",
        "taskroll": "taskroll",
        "developer": "developer",
    }
    assert "system:masters" in names["admin"][1]
    assert "system:masters" not in names["taskroll"][1] | names["developer"][1]


async def test_nobody_comes_in_without_a_token_and_the_certificate_is_checked(stack: StackInfo) -> None:
    with pytest.raises(httpx.ConnectError, match=r"(?i)certificate"):
        httpx.get(f"{stack.kube_url}/api")
    ca = stack.data_dir / "kube" / "certs" / "apiserver.crt"
    import ssl

    answer = httpx.get(f"{stack.kube_url}/api/v1/namespaces", verify=ssl.create_default_context(cafile=str(ca)))
    assert answer.status_code in {401, 403}


async def test_service_account_tokens_are_signed_and_believed(stack: StackInfo) -> None:
    name = f"robot-{uuid.uuid4().hex[:8]}"
    async with await _api(stack, "admin") as api:
        core = kubernetes.client.CoreV1Api(api)
        await core.create_namespaced_service_account("default", {"metadata": {"name": name}}, _request_timeout=10)
        request = await core.create_namespaced_service_account_token(name, "default", {"spec": {}}, _request_timeout=10)
        review = await kubernetes.client.AuthenticationV1Api(api).create_token_review(
            {"spec": {"token": request.status.token}}, _request_timeout=10
        )
        await core.delete_namespaced_service_account(name, "default", _request_timeout=10)
    assert review.status.authenticated
    assert review.status.user.username == f"system:serviceaccount:default:{name}"


async def test_writes_are_audited_with_their_user_and_reads_are_not(stack: StackInfo) -> None:
    name = f"audited-{uuid.uuid4().hex[:8]}"
    async with await _api(stack, "admin") as api:
        core = kubernetes.client.CoreV1Api(api)
        await core.create_namespaced_config_map("default", {"metadata": {"name": name}}, _request_timeout=10)
        await core.read_namespaced_config_map(name, "default", _request_timeout=10)
        await core.delete_namespaced_config_map(name, "default", _request_timeout=10)
    lines = [json.loads(line) for line in stack.audit_log.read_text().splitlines() if name in line]
    assert [(line["verb"], line["user"]["username"]) for line in lines] == [("create", "admin"), ("delete", "admin")]
    assert all("requestObject" not in line for line in lines)


async def test_admission_policies_are_served(stack: StackInfo) -> None:
    async with await _api(stack, "admin") as api:
        policies = kubernetes.client.AdmissionregistrationV1Api(api)
        await policies.list_validating_admission_policy(_request_timeout=10)


async def test_search_attributes_can_be_set_and_searched(stack: StackInfo) -> None:
    client = await Client.connect(stack.temporal_address, namespace=stack.temporal_namespace)
    key, definitions = (
        SearchAttributeKey.for_keyword("TaskrollPhase"),
        SearchAttributeKey.for_keyword_list("TaskrollDefinitions"),
    )
    others = [
        SearchAttributePair(SearchAttributeKey.for_keyword(f"Taskroll{name}"), "x")
        for name in ("RequestedBy", "Commit", "Namespace")
    ]
    workflow_id = f"devstack-{uuid.uuid4().hex}"
    handle = await client.start_workflow(
        "NobodyRunsThis",
        id=workflow_id,
        task_queue=workflow_id,
        search_attributes=TypedSearchAttributes(
            [SearchAttributePair(key, "plan"), SearchAttributePair(definitions, ["a", workflow_id]), *others]
        ),
    )
    try:
        async with asyncio.timeout(20):  # a start reaches the index of searches a moment later
            found: list[str] = []
            while not found:
                query = f"TaskrollDefinitions = '{workflow_id}'"
                found = [run.id async for run in client.list_workflows(query)]
    finally:
        await handle.terminate()
    assert found == [workflow_id]


def test_web_ui_and_metrics_answer(stack: StackInfo) -> None:
    assert "<html" in httpx.get(stack.ui_url).text
    assert "# TYPE" in httpx.get(stack.temporal_metrics_url).text


def test_everything_listens_on_loopback_only(stack: StackInfo) -> None:
    addresses = {address for part in stack.components.values() for address in _listening(part.pid)}
    assert addresses == {"127.0.0.1"}


def test_secrets_are_for_this_user_only(stack: StackInfo) -> None:
    for secret in ("kubeconfig", "kube/tokens.csv", "kube/service-account.key", "kube/certs/apiserver.key"):
        assert (stack.data_dir / secret).stat().st_mode & 0o077 == 0
    assert stack.data_dir.stat().st_mode & 0o077 == 0


def test_it_is_found_by_its_folder(stack: StackInfo) -> None:
    assert running_stack(stack.data_dir) == stack
    assert stack_status(stack.data_dir).state == "running"
    assert {part.version for part in stack.components.values()} == {
        stack.components["etcd"].version,
        stack.components["kube-apiserver"].version,
        stack.components["temporal"].version,
    }


def _listening(pid: int) -> set[str]:
    """Return the addresses on which a process accepts TCP connections, from /proc."""
    sockets = set[str]()
    for descriptor in Path(f"/proc/{pid}/fd").iterdir():
        target = str(descriptor.readlink())
        if target.startswith("socket:["):
            sockets.add(target[8:-1])
    found = set[str]()
    for table in ("tcp", "tcp6"):
        for line in Path(f"/proc/{pid}/net/{table}").read_text().splitlines()[1:]:
            fields = line.split()
            # 0A is LISTEN; the address is hexadecimal, its bytes reversed.
            if fields[3] == "0A" and fields[9] in sockets:
                raw = bytes.fromhex(fields[1].split(":")[0])
                found.add(".".join(str(byte) for byte in reversed(raw)) if len(raw) == 4 else fields[1])
    return found
