"""A namespace of its own on the real API server for each test; hands to act as taskroll, as others, and as a fault."""

from __future__ import annotations

import asyncio
import base64
import itertools
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest
import pytest_asyncio

from taskroll.cluster import manifests
from taskroll.cluster.connection import Cluster
from taskroll.cluster.definitions import LiveDefinition, list_definitions, read_definition
from taskroll.cluster.errors import Forbidden, NotFound
from taskroll.cluster.kubeconfig import ClusterSettings
from taskroll.cluster.objects import (
    KubeObject,
    apply_object,
    create_object,
    delete_object,
    read_object,
    replace_object,
)
from taskroll.cluster.resources import DEFINITION_RESOURCES, Resource
from taskroll.cluster.transport import Call, Reply, Transport
from taskroll.devstack import StackInfo
from taskroll.models.plan import DefinitionChange
from taskroll_agent.contracts import DefinitionContent, DefinitionKey, Kind, Metadata, ReleaseEntry, canonical_json
from tests.around_policies import around_policies


class Interposed:
    """A transport that lets a test act before a call is sent and after it was answered; what it raises is a fault."""

    def __init__(
        self,
        inner: Transport,
        before: Callable[[Call], Awaitable[None]] | None = None,
        after: Callable[[Call, Reply], Awaitable[None]] | None = None,
    ) -> None:
        self.inner = inner
        self.before = before
        self.after = after
        self.calls: list[Call] = []

    async def send(self, call: Call, seconds: float) -> Reply:
        self.calls.append(call)
        if self.before:
            await self.before(call)
        reply = await self.inner.send(call, seconds)
        if self.after:
            await self.after(call, reply)
        return reply

    async def close(self) -> None: ...


class Lab:
    """One namespace. `taskroll` acts with the worker's rights, `admin` stands for everybody else, and `around` for one
    of them who goes around the admission policies.
    """

    def __init__(self, taskroll: Cluster, admin: Cluster, around: Cluster, namespace: str) -> None:
        self.taskroll = taskroll
        self.admin = admin
        self.around = around
        self.namespace = namespace

    # what definitions look like

    def content(
        self,
        name: str = "encoder-task",
        version: str = "1",
        *,
        kind: Kind = "TaskDefinition",
        labels: dict[str, str] | None = None,
        annotations: dict[str, str] | None = None,
        **spec: Any,
    ) -> DefinitionContent:
        class_name = "".join(part.capitalize() for part in name.split("-"))
        source = base64.b64encode(f"VERSION = {version!r}\n\nclass {class_name}: ...\n".encode()).decode()
        fields: dict[str, Any] = {"taskClassName": class_name, "moduleName": f"lib.{class_name}", "sourceCode": source}
        fields |= (
            {"isUnitTask": True}
            if kind == "TaskDefinition"
            else {"descriptorClassName": f"{class_name}Descriptor", "isDefault": True}
        )
        metadata = Metadata(labels=labels or {}, annotations=annotations or {})
        return DefinitionContent(kind=kind, name=name, spec={**fields, **spec}, metadata=metadata)

    async def change(
        self, after: DefinitionContent | None, *, key: DefinitionKey | None = None, git_commit: str | None = None
    ) -> DefinitionChange:
        """The change as a plan would hold it, from what is live now."""
        key = key or (after.key if after else DefinitionKey("TaskDefinition", "encoder-task"))
        live = await self.live(key)
        return DefinitionChange(
            kind=key.kind,
            name=key.name,
            action="delete" if after is None else "change" if live else "create",
            class_name="X",
            module="lib.x",
            after=ReleaseEntry(digest=after.digest(), git_commit=git_commit) if after else None,
            former=live.former() if live else None,
        )

    # what others do

    async def create(self, content: DefinitionContent, **meta: Any) -> LiveDefinition:
        """As somebody with kubectl does: no managed metadata."""
        body = {"metadata": {"name": content.name, **meta}, "spec": content.spec}
        resource = DEFINITION_RESOURCES[content.kind]
        await create_object(self.admin, resource, self.namespace, body, manager="kubectl-create")
        live = await self.live(content.key)
        assert live is not None
        return live

    async def edit(
        self, edit: Callable[[dict[str, Any]], object], key: DefinitionKey | None = None, manager: str = "kubectl-edit"
    ) -> None:
        """Change the object by hand."""
        key = key or DefinitionKey("TaskDefinition", "encoder-task")
        await self.edit_object(DEFINITION_RESOURCES[key.kind], key.name, edit, manager)

    async def edit_object(
        self,
        resource: Resource,
        name: str,
        edit: Callable[[dict[str, Any]], object],
        manager: str = "kubectl-edit",
        subresource: str | None = None,
    ) -> None:
        raw = (await read_object(self.admin, resource, self.namespace, name)).raw
        edit(raw)
        await replace_object(self.around, resource, self.namespace, raw, manager=manager, subresource=subresource)

    async def delete(self, key: DefinitionKey | None = None) -> None:
        key = key or DefinitionKey("TaskDefinition", "encoder-task")
        await self.delete_object(DEFINITION_RESOURCES[key.kind], key.name)

    async def delete_object(self, resource: Resource, name: str) -> None:
        found = await read_object(self.admin, resource, self.namespace, name)
        await delete_object(
            self.around, resource, self.namespace, name, uid=found.uid, resource_version=found.resource_version
        )

    # what is there

    async def live(self, key: DefinitionKey | None = None) -> LiveDefinition | None:
        return await read_definition(self.admin, self.namespace, key or DefinitionKey("TaskDefinition", "encoder-task"))

    async def snapshot(self) -> dict[str, bytes]:
        """All definitions, byte for byte, less the API server's own bookkeeping."""
        own = ("uid", "resourceVersion", "generation", "creationTimestamp", "managedFields")
        found: dict[str, bytes] = {}
        for key, live in (await list_definitions(self.admin, self.namespace)).items():
            meta = {name: value for name, value in live.source.meta.items() if name not in own}
            found[key] = canonical_json({**live.source.raw, "metadata": meta})
        return found

    async def object(self, resource: Resource, name: str) -> KubeObject | None:
        try:
            return await read_object(self.admin, resource, self.namespace, name)
        except NotFound:
            return None

    # faults

    def interposed(
        self,
        before: Callable[[Call], Awaitable[None]] | None = None,
        after: Callable[[Call, Reply], Awaitable[None]] | None = None,
    ) -> Cluster:
        return Cluster(Interposed(self.taskroll.transport, before, after), request_timeout=10)

    def before_write(self, act: Callable[[], Awaitable[object]], verb: str | None = None) -> Cluster:
        """A cluster where `act` happens once, just before taskroll's first write: the classic race."""
        pending = [act]

        async def before(call: Call) -> None:
            if call.is_write and (verb is None or call.verb == verb) and pending:
                await pending.pop()()

        return self.interposed(before)

    async def with_each_fault(
        self, prepare: Callable[[], Awaitable[object]], act: Callable[[Cluster], Awaitable[object]]
    ) -> AsyncIterator[tuple[str, Any]]:
        """Run `act` once for each call that it makes with that call lost, and once with its answer lost; each time
        again without a fault, as a retry does. Yields a name for the fault, and what the retry returned.
        """
        for number in itertools.count():
            for side in ("request", "answer"):
                await prepare()
                loss = Loss(number, side)
                try:
                    await act(self.interposed(loss.before, loss.after))
                except Exception as error:
                    assert getattr(error, "retryable", False), f"{loss.hit}: {error!r} would not be retried"
                if not loss.hit:
                    return
                yield loss.hit, await act(self.taskroll)


class Loss:
    """Loses the request or the answer of the n-th call."""

    def __init__(self, number: int, side: str) -> None:
        self.number, self.side = number, side
        self.seen = 0
        self.hit = ""

    async def before(self, call: Call) -> None:
        self._lose(call, "request")

    async def after(self, call: Call, _reply: Reply) -> None:
        self._lose(call, "answer")
        self.seen += 1

    def _lose(self, call: Call, side: str) -> None:
        if side == self.side and self.seen == self.number and not self.hit:
            self.hit = f"{call.verb} {call.kind}: {side} lost"
            raise ConnectionResetError("lost")


@pytest_asyncio.fixture(scope="session")
async def admin(stack: StackInfo) -> AsyncIterator[Cluster]:
    settings = ClusterSettings(kubeconfig=str(stack.kubeconfig), context="admin")
    async with await Cluster.connect(settings) as cluster:
        await manifests.install(cluster, "taskroll-tests")
        yield cluster


@pytest_asyncio.fixture(scope="session")
async def around(stack: StackInfo, admin: Cluster) -> AsyncIterator[Cluster]:
    async with around_policies(stack) as cluster:
        yield cluster


@pytest_asyncio.fixture(scope="session")
async def taskroll(stack: StackInfo) -> AsyncIterator[Cluster]:
    settings = ClusterSettings(kubeconfig=str(stack.kubeconfig), context="taskroll")
    async with await Cluster.connect(settings) as cluster:
        yield cluster


@pytest.fixture(scope="session")
def until_permitted() -> Callable[[Callable[[], Awaitable[object]]], Awaitable[None]]:
    """Repeats a call until it is permitted: the API server's authorizer learns of a new binding by a watch of its own,
    some milliseconds later, and tells nobody.
    """

    async def repeat(act: Callable[[], Awaitable[object]]) -> None:
        async with asyncio.timeout(10):
            while True:
                try:
                    await act()
                except Forbidden:
                    await asyncio.sleep(0.005)
                else:
                    return

    return repeat


@pytest_asyncio.fixture
async def lab(
    admin: Cluster, around: Cluster, taskroll: Cluster, until_permitted: Callable[..., Awaitable[None]]
) -> Lab:
    namespace = f"cluster-{uuid.uuid4().hex[:10]}"
    await manifests.install(admin, namespace, folders=("rbac/dev",))
    await until_permitted(lambda: list_definitions(taskroll, namespace))
    await until_permitted(lambda: list_definitions(around, namespace))
    return Lab(taskroll, admin, around, namespace)


@pytest_asyncio.fixture(scope="session")
async def refused_module(admin: Cluster) -> AsyncIterator[str]:
    """A module name that an admission policy refuses: the API server's own no, which a schema cannot foresee."""
    name, module = f"taskroll-tests-{uuid.uuid4().hex[:10]}", f"refused.{uuid.uuid4().hex}"
    policies = Resource(
        "admissionregistration.k8s.io/v1",
        "ValidatingAdmissionPolicy",
        "validatingadmissionpolicies",
        namespaced=False,
    )
    bindings = Resource(
        "admissionregistration.k8s.io/v1",
        "ValidatingAdmissionPolicyBinding",
        "validatingadmissionpolicybindings",
        namespaced=False,
    )
    rule = {
        "apiGroups": ["cornserve.ai"],
        "apiVersions": ["v1"],
        "operations": ["CREATE", "UPDATE"],
        "resources": ["taskdefinitions", "executiondescriptors"],
    }
    policy = {
        "matchConstraints": {"resourceRules": [rule]},
        "validations": [{"expression": f"object.spec.moduleName != '{module}'", "message": "not on a Monday"}],
    }
    binding = {"policyName": name, "validationActions": ["Deny"]}
    for resource, spec in ((policies, policy), (bindings, binding)):
        body = {
            "apiVersion": resource.api_version,
            "kind": resource.kind,
            "metadata": {"name": name},
            "spec": spec,
        }
        await apply_object(admin, resource, None, body, manager="tests")
    probe = {
        "metadata": {"name": "probe"},
        "spec": {"taskClassName": "X", "moduleName": module, "sourceCode": "", "isUnitTask": True},
    }
    async with asyncio.timeout(20):
        while True:
            try:
                await create_object(
                    admin,
                    DEFINITION_RESOURCES["TaskDefinition"],
                    "taskroll-tests",
                    probe,
                    manager="tests",
                    dry_run=True,
                )
                await asyncio.sleep(0.02)
            except Exception as error:
                assert "not on a Monday" in str(error), error
                break
    yield module
    for resource in (bindings, policies):
        found = await read_object(admin, resource, None, name)
        await delete_object(admin, resource, None, name, uid=found.uid, resource_version=found.resource_version)
