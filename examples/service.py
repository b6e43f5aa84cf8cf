"""One replica of a service: ``python -m examples.service SERVICE HOST PORT``.

What taskroll asks of a service is in this file: an `Agent`, its endpoints mounted, and a lease around each call. All
else is the service's own: `POST /call` runs the tasks that this kind of service uses, and the answer says which
versions computed it.

Settings of the agent come from the environment (``TASKROLL_AGENT_…``, ``POD_NAME``, ``POD_UID``). When the replica
serves, it says so on stdout.
"""

import argparse
import asyncio
import contextlib
import logging
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Mount, Route

from taskroll_agent import API_PREFIX, Active, Agent, DefinitionNotFound, Generation, agent_app

Answer = dict[str, Any]
Work = Callable[[Generation, str], Answer]

FAULT_VARIABLE = "EXAMPLE_FAULT_FILE"
"""Names a file; while it exists, this replica dies at the moment it begins to serve another release. For the demo."""


def sketch(generation: Generation, text: str) -> Answer:
    """What a gateway does: it calls the composite task, which calls the unit tasks."""
    return generation.get("SketchTask")().invoke({"text": text})


def dispatch(generation: Generation, text: str) -> Answer:
    """What a dispatcher does: it finds the executor of a unit task through its descriptor."""
    encoder = generation.get("EncoderTask")()
    # Refuses an encoder of another generation: it is an instance of another class, whatever its name.
    descriptor = generation.get("EncoderDescriptor")(task=encoder)
    encoded = encoder.invoke({"text": text})
    return {"executor": descriptor.executor_name(), "versions": {"encoder": encoded["version"]}}


def execute(generation: Generation, text: str) -> Answer:
    """What a task manager does: it runs unit tasks."""
    encoded = generation.get("EncoderTask")().invoke({"text": text})
    written = generation.get("WriterTask")().invoke({"vector": encoded["vector"]})
    ranked = generation.get("RankerTask")().invoke({"lines": [written["line"], text]})
    versions = {"encoder": encoded["version"], "writer": written["version"], "ranker": ranked["version"]}
    return {"lines": ranked["lines"], "versions": versions}


WORK: dict[str, Work] = {"gateway": sketch, "dispatcher": dispatch, "task-manager": execute}


def create_app(agent: Agent, work: Work) -> Starlette:
    """The service: its own endpoint, and the agent's beside it."""

    async def call(request: Request) -> Response:
        text = str((await request.json())["text"])
        try:
            # One call, one version: the lease holds the generation, also in the thread and when the release changes.
            with agent.registry.lease() as generation:
                answer = await asyncio.to_thread(work, generation, text)
        except DefinitionNotFound as error:
            return JSONResponse({"error": str(error)}, status_code=503)
        return JSONResponse({"pod": agent.identity.pod, **answer})

    return Starlette(
        routes=[Route("/call", call, methods=["POST"]), Mount(API_PREFIX, agent_app(agent))],
        lifespan=agent.lifespan,
    )


class AnnouncingServer(uvicorn.Server):
    """Says on stdout that it serves: what a readiness probe finds out in a cluster."""

    async def startup(self, sockets: list[Any] | None = None) -> None:
        await super().startup(sockets)
        if self.started:
            print("serving", flush=True)


def main() -> None:
    """Serve until SIGTERM."""
    arguments = _arguments()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    logging.getLogger("httpx").setLevel(logging.WARNING)
    agent = Agent()
    if fault := os.environ.get(FAULT_VARIABLE):
        agent.registry.on_activate(_dies_while(Path(fault)))
    config = uvicorn.Config(
        create_app(agent, WORK[arguments.service]),
        host=arguments.host,
        port=arguments.port,
        log_config=None,
        access_log=False,
        timeout_graceful_shutdown=3,
    )
    # uvicorn raises the signal that ended it once more, for whoever else wants to know.
    with contextlib.suppress(KeyboardInterrupt):
        AnnouncingServer(config).run()


def _dies_while(fault: Path) -> Callable[[Active, Active], None]:
    def die(_now: Active, _before: Active) -> None:
        if fault.exists():
            os.kill(os.getpid(), signal.SIGKILL)

    return die


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m examples.service", description="One replica of a service.")
    parser.add_argument("service", choices=sorted(WORK))
    parser.add_argument("host")
    parser.add_argument("port", type=int)
    return parser.parse_args()


if __name__ == "__main__":
    main()
