"""The agent over HTTP: the contract's calls, its refusals, and who is let in."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi import FastAPI
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, StreamingResponse
from starlette.routing import Route

from taskroll_agent import (
    API_PREFIX,
    Agent,
    AgentSettings,
    LeaseMiddleware,
    SettingsError,
    agent_app,
    assembly,
    standalone_app,
)
from taskroll_agent.asgi import MAX_BODY, MAX_NONCE
from taskroll_agent.contracts import ActivateAnswer, Attestation, PrepareAnswer, Refusal
from taskroll_agent.memory_cluster import MemoryCluster, task_definition

StartAgent = Callable[..., Awaitable[Agent]]
AUTH = {"Authorization": "Bearer secret"}


@asynccontextmanager
async def calling(app: Any) -> AsyncIterator[httpx.AsyncClient]:
    transport = httpx.ASGITransport(app=app, raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://agent") as client:
        yield client


@pytest.fixture
async def agent(start_agent: StartAgent, memory: MemoryCluster, root: str) -> Agent:
    memory.commit(memory.add(task_definition(f"{root}.m", "Task", "class Task:\n    version = 1\n")))
    return await start_agent()


@pytest.fixture
async def client(agent: Agent) -> AsyncIterator[httpx.AsyncClient]:
    app = FastAPI()
    app.mount(API_PREFIX, agent_app(agent))
    async with calling(app) as client:
        client.headers.update(AUTH)
        yield client


async def test_the_calls_of_an_update(
    client: httpx.AsyncClient, memory: MemoryCluster, root: str, agent: Agent
) -> None:
    change = memory.add(task_definition(f"{root}.m", "Task", "class Task:\n    version = 2\n"))
    response = await client.post(f"{API_PREFIX}/prepare", json={"request_id": "up", "definitions": change})
    assert response.status_code == 200, response.text
    prepared = PrepareAnswer.model_validate_json(response.content)
    assert prepared.prepared

    memory.silent_watch = True
    pointer = memory.commit(change, request_id="up")
    response = await client.post(f"{API_PREFIX}/activate", json=pointer.model_dump())
    assert response.status_code == 200, response.text
    active = ActivateAnswer.model_validate_json(response.content)
    assert (active.epoch, active.content_digest, active.already_active) == (2, prepared.content_digest, False)
    assert agent.registry.get("Task").version == 2

    response = await client.get(f"{API_PREFIX}/attestation", params={"nonce": "n", "detail": "full"})
    attestation = Attestation.model_validate_json(response.content)
    assert (attestation.epoch, attestation.nonce, attestation.definitions) == (2, "n", change)
    assert Attestation.model_validate_json((await client.get(f"{API_PREFIX}/attestation")).content).definitions is None

    response = await client.post(f"{API_PREFIX}/abort", json={"request_id": "up"})
    assert (response.status_code, response.json()) == (200, {"dropped": False})


async def test_a_refusal_is_a_409(client: httpx.AsyncClient, memory: MemoryCluster, root: str) -> None:
    late = memory.write_release({}, epoch=1, request_id="late")
    response = await client.post(f"{API_PREFIX}/activate", json=late.model_dump())
    assert response.status_code == 409
    refusal = Refusal.model_validate_json(response.content)
    assert (refusal.reason, refusal.epoch) == ("other_update", 1)
    broken = memory.write_release(memory.add(task_definition(f"{root}.m", "Task", "1 / 0")), request_id="up")
    response = await client.post(f"{API_PREFIX}/activate", json=broken.model_dump())
    refusal = Refusal.model_validate_json(response.content)
    assert refusal.reason == "not_loadable"
    assert "line 1: ZeroDivisionError" in refusal.message


async def test_a_broken_definition_is_an_answer_and_no_error(
    client: httpx.AsyncClient, memory: MemoryCluster, root: str
) -> None:
    change = memory.add(task_definition(f"{root}.m", "Task", "import nothing_of_this_name\n"))
    response = await client.post(f"{API_PREFIX}/prepare", json={"request_id": "up", "definitions": change})
    assert response.status_code == 200
    answer = PrepareAnswer.model_validate_json(response.content)
    assert not answer.prepared
    assert answer.problems[0].message == f"{root}.m, line 1: no module named nothing_of_this_name"


async def test_an_error_that_nobody_foresaw_is_an_answer_too(
    client: httpx.AsyncClient, memory: MemoryCluster, root: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A 500 would be asked again until the step's deadline."""

    async def unforeseen(*_: object) -> None:
        raise ValueError("nobody foresaw this")

    monkeypatch.setattr(assembly, "run_in_thread", unforeseen)
    change = memory.add(task_definition(f"{root}.m", "Task", "class Task:\n    version = 2\n"))
    response = await client.post(f"{API_PREFIX}/prepare", json={"request_id": "up", "definitions": change})
    assert response.status_code == 200, response.text
    answer = PrepareAnswer.model_validate_json(response.content)
    assert not answer.prepared
    assert [problem.error for problem in answer.problems] == ["ValueError"]


async def test_cut_off_is_a_503(client: httpx.AsyncClient, memory: MemoryCluster) -> None:
    memory.cut_off = True
    response = await client.post(f"{API_PREFIX}/prepare", json={"request_id": "up", "definitions": {}})
    assert (response.status_code, response.headers["Retry-After"]) == (503, "1")
    assert response.json() == {"error": "cut off"}


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("prepare", b""),
        ("prepare", b"{"),
        ("prepare", b"[]"),
        ("prepare", b'{"request_id": "up"}'),
        ("prepare", b'{"request_id": "up", "definitions": {"TaskDefinition/x": "md5:1"}}'),
        ("prepare", b'{"request_id": "up", "definitions": {"nonsense": null}}'),
        ("prepare", b'{"request_id": "up", "definitions": {}, "extra": "sensitive-input"}'),
        ("prepare", b'\xff\xfe{"request_id": "up"}'),
        ("activate", b'{"request_id": "up", "epoch": 0, "release": "r", "content_digest": "sha256:1"}'),
        ("abort", b"{}"),
    ],
)
async def test_a_body_of_another_form_is_a_422(client: httpx.AsyncClient, path: str, body: bytes) -> None:
    response = await client.post(f"{API_PREFIX}/{path}", content=body)
    assert response.status_code == 422, response.text
    assert response.json()["error"] == "the request is not of the form"
    assert "sensitive-input" not in response.text


async def test_bounds(client: httpx.AsyncClient) -> None:
    response = await client.post(f"{API_PREFIX}/prepare", content=b"x" * (MAX_BODY + 1))
    assert response.status_code == 413
    response = await client.get(f"{API_PREFIX}/attestation", params={"nonce": "n" * (MAX_NONCE + 1)})
    assert response.status_code == 422


async def test_other_paths_and_methods(client: httpx.AsyncClient) -> None:
    assert (await client.get(f"{API_PREFIX}/prepare")).status_code == 405
    assert (await client.get(f"{API_PREFIX}/nothing")).status_code == 404


@pytest.mark.parametrize(
    "shown", [None, "Bearer wrong", "Bearer ", "Bearer", "Basic secret", "secret", "Bearer secret2"]
)
async def test_without_a_token_nobody_is_let_in(agent: Agent, shown: str | None) -> None:
    headers = {} if shown is None else {"Authorization": shown}
    async with calling(standalone_app(agent)) as client:
        for method, path in [
            ("POST", "prepare"),
            ("POST", "activate"),
            ("POST", "abort"),
            ("GET", "attestation"),
            ("GET", "x"),
        ]:
            response = await client.request(method, f"{API_PREFIX}/{path}", headers=headers, content=b"{")
            assert response.status_code == 401, "before the body is looked at"
            assert response.headers["WWW-Authenticate"] == "Bearer"
        assert (await client.get(f"{API_PREFIX}/healthz", headers=headers)).status_code == 200


async def test_tokens_rotate(start_agent: StartAgent, tmp_path: Path) -> None:
    file = tmp_path / "tokens"
    file.write_text("one\n\n two \n")
    agent = await start_agent(token="fixed, second", token_file=file)
    async with calling(standalone_app(agent)) as client:

        async def status(token: str) -> int:
            headers = {"Authorization": f"Bearer {token}"}
            return (await client.get(f"{API_PREFIX}/attestation", headers=headers)).status_code

        assert [await status(t) for t in ("fixed", "second", "one", "two", "three")] == [200, 200, 200, 200, 401]
        file.write_text("two\nthree\nfour\n")
        assert [await status(t) for t in ("fixed", "one", "two", "three")] == [200, 401, 200, 200]
        file.unlink()
        assert await status("three") == 200, "while it is replaced the known ones stay good"


async def test_no_token_at_all(settings: AgentSettings, memory: MemoryCluster, tmp_path: Path) -> None:
    bare = settings.model_copy(update={"token": None})
    empty = tmp_path / "empty"
    empty.write_text("\n")
    for changed in ({}, {"token": " , "}, {"token_file": empty}, {"token_file": tmp_path / "absent"}):
        with pytest.raises(SettingsError, match="TASKROLL_AGENT_TOKEN"):
            agent_app(Agent(bare.model_copy(update=changed), cluster=memory))
    app = standalone_app(Agent(bare.model_copy(update={"insecure": True}), cluster=memory))
    async with calling(app) as client:
        assert (await client.get(f"{API_PREFIX}/attestation")).status_code == 200


async def test_health(start_agent: StartAgent, memory: MemoryCluster, root: str) -> None:
    memory.cut_off = True
    agent = await start_agent(start_timeout=0.01)
    async with calling(standalone_app(agent)) as client:
        response = await client.get(f"{API_PREFIX}/healthz")
        assert (response.status_code, response.json()) == (503, {"ready": False, "epoch": 0})
        memory.cut_off = False
        pointer = memory.commit(memory.add(task_definition(f"{root}.m", "Task", "class Task: pass")))
        ready = asyncio.Event()
        agent.registry.on_activate(lambda *_: ready.set())
        if agent.registry.active.epoch < pointer.epoch:
            await ready.wait()
        response = await client.get(f"{API_PREFIX}/healthz")
        assert (response.status_code, response.json()) == (200, {"ready": True, "epoch": 1})


async def test_the_lifespan_of_the_app_starts_and_stops_the_agent(
    settings: AgentSettings, memory: MemoryCluster
) -> None:
    agent = Agent(settings, cluster=memory)
    app = FastAPI(lifespan=agent.lifespan)
    async with app.router.lifespan_context(app):
        assert agent.ready
    assert not memory._followers


async def test_a_request_keeps_its_version_to_the_last_byte_of_the_answer(
    agent: Agent, memory: MemoryCluster, root: str
) -> None:
    started, flipped = asyncio.Event(), asyncio.Event()

    async def whole(_: Request) -> JSONResponse:
        before = agent.registry.get("Task").version
        started.set()
        await flipped.wait()
        return JSONResponse([before, agent.registry.get("Task").version])

    async def stream(_: Request) -> StreamingResponse:
        async def parts() -> AsyncIterator[str]:
            for _ in range(2):
                yield str(agent.registry.get("Task").version)
                await flipped.wait()

        return StreamingResponse(parts())

    app = Starlette(routes=[Route("/whole", whole), Route("/stream", stream)])
    app.add_middleware(LeaseMiddleware, registry=agent.registry)
    async with calling(app) as client:
        calls = [asyncio.create_task(client.get(path)) for path in ("/stream", "/whole")]
        await started.wait()
        new = memory.add(task_definition(f"{root}.m", "Task", "class Task:\n    version = 2\n"))
        agent.registry.on_activate(lambda *_: flipped.set())
        memory.commit(new, request_id="up")
        streamed, answered = await asyncio.gather(*calls)
        assert (streamed.text, answered.json()) == ("11", [1, 1])
        assert (await client.get("/whole")).json() == [2, 2]
    assert [info.leases for info in agent.registry.generations() if info.leases] == []


async def test_the_agent_s_own_requests_hold_no_lease(agent: Agent, memory: MemoryCluster, root: str) -> None:
    """Else the request that flips would see the classes from before."""
    app = FastAPI()
    app.mount(API_PREFIX, agent_app(agent))
    app.add_middleware(LeaseMiddleware, registry=agent.registry)
    memory.silent_watch = True
    pointer = memory.commit_sources({f"{root}.m.Task": "class Task:\n    version = 2\n"})
    seen: list[tuple[object, list[int]]] = []

    def look(*_: object) -> None:
        seen.append((agent.registry.get("Task").version, [g.leases for g in agent.registry.generations() if g.leases]))

    agent.registry.on_activate(look)
    async with calling(app) as client:
        client.headers.update(AUTH)
        answer = await client.post(f"{API_PREFIX}/activate", json=pointer.model_dump())
    assert answer.status_code == 200, answer.text
    assert seen == [(2, [])]
