"""An agent in a process of its own, that may die: ``python -m tests.services.agent_process HOST PORT [SOURCES]``.

Its settings come from the environment. SOURCES, as JSON, are those of a release in memory and of one more revision.
"""

import asyncio
import json
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import uvicorn

from taskroll_agent import Agent, AgentSettings, standalone_app
from taskroll_agent.memory_cluster import MemoryCluster, task_definition

ROOT = Path(__file__).parents[2]


class _Server(uvicorn.Server):
    async def startup(self, sockets: object = None) -> None:
        await super().startup()
        print("serves", flush=True)


def main(host: str, port: str, sources: str | None = None) -> None:
    cluster = None
    if sources is not None:
        released, changed = json.loads(sources)
        cluster = MemoryCluster()
        cluster.commit_sources(released, request_id="first")
        for name, source in changed.items():
            cluster.add(task_definition(*name.rsplit(".", 1), source))
    app = standalone_app(Agent(AgentSettings.from_env(), cluster=cluster))
    _Server(uvicorn.Config(app, host=host, port=int(port), log_level="warning", lifespan="on")).run()


@asynccontextmanager
async def agent_process(*arguments: str, env: dict[str, str]) -> AsyncIterator[asyncio.subprocess.Process]:
    """Start one, wait until it serves; at the end kill it where it still lives."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "tests.services.agent_process",
        *arguments,
        cwd=ROOT,
        env=env,
        stdout=asyncio.subprocess.PIPE,
    )
    try:
        assert process.stdout is not None
        assert await process.stdout.readline() == b"serves\n"
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


if __name__ == "__main__":
    main(*sys.argv[1:])
