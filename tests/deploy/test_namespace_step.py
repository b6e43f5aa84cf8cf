"""deploy/compose/namespace.sh, run against a real Temporal server."""

from __future__ import annotations

import os
import subprocess
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from temporalio.api.enums.v1 import IndexedValueType
from temporalio.api.operatorservice.v1 import ListSearchAttributesRequest
from temporalio.client import Client
from temporalio.common import SearchAttributeKey

from taskroll.devstack import StackInfo
from taskroll.devstack.binaries import locate
from taskroll.devstack.components import SEARCH_ATTRIBUTES
from workflows import search_attributes

from .checker import REPOSITORY

SCRIPT = REPOSITORY / "deploy/compose/namespace.sh"


def expected_attributes() -> dict[str, str]:
    """Those that the workflow sets, with the name of their type in the CLI."""
    return {
        value.name: value.indexed_value_type.name.title().replace("_", "")
        for value in vars(search_attributes).values()
        if isinstance(value, SearchAttributeKey)
    }


@dataclass(frozen=True)
class TemporalNamespace:
    """A name that no other test uses, and the commands that act on it."""

    address: str
    command: Path
    name: str = field(default_factory=lambda: f"deploy-{uuid.uuid4().hex[:8]}")

    def environment(self) -> dict[str, str]:
        return {
            # The CLI looks for a configuration in it; none of the user's own must count.
            "HOME": "/nonexistent",
            "PATH": f"{self.command.parent}{os.pathsep}{os.environ['PATH']}",
            "TEMPORAL_ADDRESS": self.address,
            "TEMPORAL_NAMESPACE": self.name,
            "TASKROLL_RETENTION": "72h",
        }

    def run_step(self, **changes: str) -> subprocess.CompletedProcess[str]:
        environment = {name: value for name, value in (self.environment() | changes).items() if value}
        return subprocess.run(["/bin/sh", SCRIPT], env=environment, capture_output=True, text=True, timeout=90)

    def temporal(self, *arguments: str) -> str:
        command = [self.command, *arguments]
        return subprocess.run(command, env=self.environment(), check=True, capture_output=True, text=True).stdout

    async def attributes(self) -> dict[str, str]:
        client = await Client.connect(self.address)
        answer = await client.operator_service.list_search_attributes(ListSearchAttributesRequest(namespace=self.name))
        return {
            name: IndexedValueType.Name(kind).removeprefix("INDEXED_VALUE_TYPE_").title().replace("_", "")
            for name, kind in answer.custom_attributes.items()
        }


@pytest.fixture
def namespace(stack: StackInfo) -> Iterator[TemporalNamespace]:
    made = TemporalNamespace(stack.temporal_address, stack.components["temporal"].binary)
    yield made
    made.temporal("operator", "namespace", "delete", "--yes", "--namespace", made.name)


def test_the_dev_stack_has_the_attributes_of_the_workflow() -> None:
    assert dict(SEARCH_ATTRIBUTES) == expected_attributes()


async def test_makes_namespace_and_attributes_once(namespace: TemporalNamespace) -> None:
    first = namespace.run_step()
    assert first.returncode == 0, first.stderr
    assert await namespace.attributes() == expected_attributes()
    assert "72h" in namespace.temporal("operator", "namespace", "describe", namespace.name)

    again = namespace.run_step(TASKROLL_RETENTION="24h")
    assert again.returncode == 0, again.stderr
    assert await namespace.attributes() == expected_attributes()
    assert "72h" in namespace.temporal("operator", "namespace", "describe", namespace.name)


async def test_adds_what_is_missing(namespace: TemporalNamespace) -> None:
    namespace.temporal("operator", "namespace", "create", namespace.name)
    await attribute_made(namespace, "TaskrollPhase", "Keyword")
    done = namespace.run_step()
    assert done.returncode == 0, done.stderr
    assert await namespace.attributes() == expected_attributes()


async def test_refuses_an_attribute_of_another_type(namespace: TemporalNamespace) -> None:
    namespace.temporal("operator", "namespace", "create", namespace.name)
    await attribute_made(namespace, "TaskrollCommit", "Int")
    refused = namespace.run_step()
    assert refused.returncode == 1
    assert "TaskrollCommit is of type Int, taskroll needs Keyword" in refused.stderr
    assert await namespace.attributes() == {"TaskrollCommit": "Int"}


async def attribute_made(namespace: TemporalNamespace, name: str, kind: str) -> None:
    """Add an attribute to a namespace that was made just now, which the server knows a moment later."""
    for _ in range(50):
        made = subprocess.run(
            [namespace.command, "operator", "search-attribute", "create", "--name", name, "--type", kind],
            env=namespace.environment(),
            capture_output=True,
        )
        if made.returncode == 0 and await namespace.attributes() == {name: kind}:
            return
    pytest.fail(f"search attribute {name} was not made")


def test_gives_up_in_the_end_and_says_why() -> None:
    command = locate("temporal").path
    refused = TemporalNamespace("127.0.0.1:1", command).run_step(ATTEMPTS="2")
    assert refused.returncode == 1
    assert "not healthy after 2 attempts" in refused.stderr
    assert "connection refused" in refused.stderr


@pytest.mark.parametrize("absent", ["TEMPORAL_ADDRESS", "TEMPORAL_NAMESPACE", "TASKROLL_RETENTION"])
def test_wants_its_settings(absent: str) -> None:
    nowhere = TemporalNamespace("127.0.0.1:1", Path("/bin/false"))
    refused = nowhere.run_step(**{absent: ""})
    assert refused.returncode != 0
    assert absent in refused.stderr
