"""Services whose requests are calls at the gate: an ASGI app by the middleware, a WSGI app in threads."""

import asyncio
import re
import textwrap
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi import FastAPI

from examples.wsgi_service import QuietHandler, ThreadingServer, application
from taskroll_agent import API_PREFIX, Agent, AgentSettings, GateMiddleware, serve_in_thread
from taskroll_agent.contracts import HoldAnswer, ReleaseAnswer
from taskroll_agent.memory_cluster import MemoryCluster

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "agent.md").read_text()
BLOCKS = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
HOLD = {"request_id": "up", "classes": ["EncoderTask"], "seconds": 0, "expires": 60}

StartAgent = Callable[..., Awaitable[Agent]]
Until = Callable[[Callable[[], Any]], Awaitable[Any]]


def library(root: str, version: int) -> dict[str, str]:
    source = f"class EncoderTask:\n    def invoke(self, given):\n        return {{'version': {version}}}\n"
    return {f"{root}.m.EncoderTask": source}


def waiting(agent: Agent) -> int:
    hold = agent.gate._holds.get("up")
    return 0 if hold is None else hold._waited_calls


@pytest.fixture
async def agent(start_agent: StartAgent, memory: MemoryCluster, root: str) -> Agent:
    memory.commit_sources(library(root, 1))
    return await start_agent()


@pytest.fixture
def may_end() -> asyncio.Event:
    return asyncio.Event()


@pytest.fixture
async def client(agent: Agent, may_end: asyncio.Event) -> AsyncIterator[httpx.AsyncClient]:
    """Of an app that is gated as the page says."""
    app = FastAPI()

    @app.post("/encode")
    async def encode() -> Any:
        return agent.registry.get("EncoderTask")().invoke({})

    @app.post("/encode/slow")
    async def slow() -> None:
        await may_end.wait()

    @app.get("/probe")
    async def probe() -> str:
        return "up"

    (snippet,) = [block for block in BLOCKS if "GateMiddleware" in block]
    exec(snippet, {"app": app, "agent": agent})
    async with httpx.AsyncClient(
        transport=httpx.ASGITransport(app=app), base_url="http://app", headers={"Authorization": "Bearer secret"}
    ) as client:
        yield client


async def test_requests_wait_while_the_process_flips(
    agent: Agent, client: httpx.AsyncClient, memory: MemoryCluster, root: str, until: Until
) -> None:
    held = HoldAnswer.model_validate_json((await client.post(f"{API_PREFIX}/hold", json=HOLD)).content)
    assert held.held
    call = asyncio.create_task(client.post("/encode"))
    await until(lambda: waiting(agent))
    assert (await client.get("/probe")).status_code == 200
    memory.commit_sources(library(root, 2))
    await until(lambda: agent.registry.active.epoch == 2)
    assert not call.done()
    released = ReleaseAnswer.model_validate_json(
        (await client.post(f"{API_PREFIX}/release", json={"request_id": "up"})).content
    )
    assert released.waited_calls == 1
    assert (await call).json() == {"version": 2}


async def gated(agent: Agent, app: Any, path: str, **scope: Any) -> list[Any]:
    """Send a request of that scope through the middleware alone; returns what it sent."""
    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append(message)

    async def receive() -> Any:
        return {"type": "http.request", "body": b"", "more_body": False}

    full = {"type": "http", "path": path, "method": "GET", "headers": [], "root_path": ""} | scope
    await GateMiddleware(app, agent.gate)(full, receive, send)
    return sent


@pytest.mark.parametrize(
    ("path", "scope", "counted"),
    [
        ("/any", {}, 1),
        (f"{API_PREFIX}/release", {}, 0),
        (f"/behind{API_PREFIX}/release", {"root_path": "/behind"}, 0),
        (f"/behind{API_PREFIX}/release", {}, 1),
        ("/any", {"type": "websocket"}, 0),
        ("/any", {"type": "lifespan"}, 0),
    ],
)
async def test_what_counts_as_a_call(agent: Agent, path: str, scope: dict[str, Any], counted: int) -> None:
    seen: list[int] = []

    async def app(*_: Any) -> None:
        seen.append(len(agent.gate._calls))

    await gated(agent, app, path, **scope)
    assert seen == [counted]
    assert not agent.gate._calls


async def test_a_cancelled_request_is_a_503_and_one_that_has_begun_is_cut_off(
    agent: Agent, may_end: asyncio.Event, until: Until
) -> None:
    from taskroll_agent import CallCancelled
    from taskroll_agent.contracts import HoldRequest

    async def silent(scope: Any, receive: Any, send: Any) -> None:
        await may_end.wait()

    async def stream(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await may_end.wait()

    calls = [asyncio.create_task(gated(agent, app, "/any")) for app in (silent, stream)]
    calls = [asyncio.create_task(_outcome(call)) for call in calls]
    await until(lambda: len(agent.gate._calls) == 2)
    answer = await agent.gate.hold(HoldRequest(request_id="up", classes=[], seconds=0.05, expires=30, cancel=True))
    assert (answer.held, answer.cancelled) == (True, 2)
    refused, cut = await asyncio.gather(*calls)
    assert refused[0]["status"] == 503
    assert isinstance(cut, CallCancelled)


async def _outcome(call: "asyncio.Task[Any]") -> Any:
    try:
        return await call
    except Exception as error:
        return error


@pytest.fixture
def threaded(root: str, settings: AgentSettings, memory: MemoryCluster) -> Iterator[tuple[Agent, httpx.Client, str]]:
    """The WSGI example with an agent in its thread: the agent, a client of its endpoints, and the app's address."""
    from wsgiref.simple_server import make_server

    memory.commit_sources(library(root, 1))
    agent = Agent(settings, cluster=memory)
    thread = serve_in_thread(agent, "127.0.0.1", 0)
    host, port = thread.address
    with (
        make_server("127.0.0.1", 0, application(agent), ThreadingServer, QuietHandler) as server,
        httpx.Client(
            base_url=f"http://{host}:{port}{API_PREFIX}", headers={"Authorization": "Bearer secret"}
        ) as client,
    ):
        serving = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        serving.start()
        yield agent, client, f"http://127.0.0.1:{server.server_port}/encode"
        server.shutdown()
        serving.join()
    thread.stop()
    agent.registry.close()


async def test_requests_in_threads_wait_while_the_process_flips(
    threaded: tuple[Agent, httpx.Client, str], memory: MemoryCluster, root: str, until: Until
) -> None:
    agent, client, address = threaded
    assert httpx.post(address, content="x").json() == {"version": 1}
    assert client.post("/hold", json=HOLD).json()["held"]
    call = asyncio.create_task(asyncio.to_thread(httpx.post, address, content="x"))
    await until(lambda: waiting(agent))
    change = memory.commit_sources(library(root, 2))
    client.post("/activate", json=change.model_dump()).raise_for_status()
    assert not call.done()
    assert client.post("/release", json={"request_id": "up"}).json()["waited_calls"] == 1
    assert (await call).json() == {"version": 2}


def test_the_page_shows_what_the_wsgi_example_does() -> None:
    (snippet,) = [block for block in BLOCKS if block.startswith("with agent.gate.call")]
    assert textwrap.indent(snippet, "        ") in (ROOT / "examples" / "wsgi_service.py").read_text()
