"""Task modules that tests write down, as the revisions and releases that an agent reads."""

import textwrap
from collections.abc import Mapping

from taskroll_agent import Agent
from taskroll_agent.contracts import DefinitionContent
from taskroll_agent.loading import Revision
from taskroll_agent.memory_cluster import MemoryCluster, task_definition


def make_revisions(sources: Mapping[str, str]) -> dict[str, Revision]:
    """``module.Class`` → source, as revisions by definition key."""
    contents: list[DefinitionContent] = []
    for name, source in sources.items():
        module, _, class_name = name.rpartition(".")
        contents.append(task_definition(module, class_name, textwrap.dedent(source)))
    return {str(content.key): Revision(content.digest(), content) for content in contents}


def source(root: str, version: object) -> dict[str, str]:
    """One task of that version."""
    return {f"{root}.m.Task": f"class Task:\n    version = {version!r}\n"}


def digests(memory: MemoryCluster, root: str, version: object) -> dict[str, str]:
    """Store that task's revision; returns definition key → digest."""
    (text,) = source(root, version).values()
    return memory.add(task_definition(f"{root}.m", "Task", text))


def version(agent: Agent) -> object:
    """The version of that task that the agent's process serves."""
    return agent.registry.get("Task").version
