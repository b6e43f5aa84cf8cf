"""What a process says about itself is read from the live classes."""

from collections.abc import Awaitable, Callable

from taskroll_agent import Agent
from taskroll_agent.attestation import REPLACED
from taskroll_agent.contracts import content_digest
from taskroll_agent.memory_cluster import MemoryCluster, task_definition

StartAgent = Callable[..., Awaitable[Agent]]
SOURCE = "class A:\n    x = 1\n\nclass B:\n    y = 1\n"


async def two_definitions(start_agent: StartAgent, memory: MemoryCluster, root: str) -> tuple[Agent, dict[str, str]]:
    digests = memory.add(
        task_definition(f"{root}.m", "A", SOURCE), task_definition(f"{root}.m", "B", SOURCE, kind="ExecutionDescriptor")
    )
    memory.commit(digests)
    return await start_agent(), digests


async def test_identity_nonce_and_detail(start_agent: StartAgent, memory: MemoryCluster, root: str) -> None:
    agent, digests = await two_definitions(start_agent, memory, root)
    attestation = agent.attest("n-1", full=True)
    assert (attestation.pod, attestation.pod_uid, attestation.nonce) == ("pod-1", "uid-1", "n-1")
    assert attestation.definitions == digests
    assert attestation.content_digest == content_digest(digests)
    assert agent.attest().definitions is None
    assert agent.attest().content_digest == content_digest(digests)
    other = await start_agent()
    assert other.attest().process != attestation.process


async def test_a_class_that_was_replaced_is_not_attested(
    start_agent: StartAgent, memory: MemoryCluster, root: str
) -> None:
    agent, digests = await two_definitions(start_agent, memory, root)
    module = agent.registry.active.generation.modules[f"{root}.m"]
    original = module.A
    module.A = type("A", (), {})
    attestation = agent.attest(full=True)
    assert attestation.definitions == digests | {"TaskDefinition/a": REPLACED}
    assert attestation.content_digest == content_digest(digests | {"TaskDefinition/a": REPLACED})
    del module.A
    assert (agent.attest(full=True).definitions or {})["TaskDefinition/a"] == REPLACED
    module.A = original
    assert agent.attest(full=True).definitions == digests


async def test_a_module_that_was_replaced_is_not_attested(
    start_agent: StartAgent, memory: MemoryCluster, root: str
) -> None:
    agent, digests = await two_definitions(start_agent, memory, root)
    table = agent.registry.active.generation.module_set.table
    original = table.pop(f"{root}.m")
    assert agent.attest(full=True).definitions == dict.fromkeys(digests, REPLACED)
    table[f"{root}.m"] = original
    del original.__loader__
    assert agent.attest(full=True).definitions == dict.fromkeys(digests, REPLACED)
    original.__loader__ = None
    assert agent.attest(full=True).definitions == dict.fromkeys(digests, REPLACED)
