"""An agent in a process without an event loop."""

import builtins
import socket
import threading
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from taskroll_agent import API_PREFIX, Agent, AgentError, AgentSettings, AgentThread, SettingsError, serve_in_thread
from taskroll_agent.memory_cluster import MemoryCluster, task_definition


@pytest.fixture
def agent(root: str, settings: AgentSettings, memory: MemoryCluster) -> Iterator[Agent]:
    memory.commit(memory.add(task_definition(f"{root}.m", "Task", "class Task:\n    version = 1\n")))
    made = Agent(settings, cluster=memory)
    yield made
    made.registry.close()


def test_served_in_a_thread(agent: Agent, memory: MemoryCluster, root: str) -> None:
    thread = serve_in_thread(agent, "127.0.0.1", 0)
    host, port = thread.address
    base = f"http://{host}:{port}{API_PREFIX}"
    with httpx.Client(headers={"Authorization": "Bearer secret"}) as client:
        assert client.get(f"{base}/healthz").json() == {"ready": True, "epoch": 1}
        assert agent.registry.get("Task").version == 1
        memory.silent_watch = True
        change = memory.add(task_definition(f"{root}.m", "Task", "class Task:\n    version = 2\n"))
        assert client.post(f"{base}/prepare", json={"request_id": "up", "definitions": change}).json()["prepared"]
        pointer = memory.commit(change, request_id="up")
        with agent.registry.lease():
            assert client.post(f"{base}/activate", json=pointer.model_dump()).json()["already_active"] is False
            assert agent.registry.get("Task").version == 1
        assert agent.registry.get("Task").version == 2
    thread.stop()
    thread.stop()
    with pytest.raises(httpx.ConnectError):
        httpx.get(f"{base}/healthz")
    assert agent.registry.get("Task").version == 2, "classes stay for calls that still run"
    assert not [thread for thread in threading.enumerate() if thread.name == "taskroll-agent"]


def test_without_endpoints(agent: Agent) -> None:
    with AgentThread(agent) as thread:
        assert agent.ready
        assert agent.registry.get("Task").version == 1
        with pytest.raises(AgentError, match="no endpoints"):
            _ = thread.address


def test_uvicorn_is_asked_for_where_it_is_absent(agent: Agent, monkeypatch: pytest.MonkeyPatch) -> None:
    ordinary = builtins.__import__

    def without_uvicorn(name: str, *args: Any, **kwargs: Any) -> Any:
        if name.partition(".")[0] == "uvicorn":
            raise ImportError(name)
        return ordinary(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", without_uvicorn)
    with pytest.raises(AgentError, match=r"taskroll-agent\[server\]"):
        serve_in_thread(agent, "127.0.0.1", 0)


def test_a_start_that_fails_is_told(agent: Agent, settings: AgentSettings, memory: MemoryCluster) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken, pytest.raises(OSError):
        serve_in_thread(agent, "127.0.0.1", taken.getsockname()[1])
    with pytest.raises(SettingsError):
        serve_in_thread(Agent(settings.model_copy(update={"token": None}), cluster=memory), "127.0.0.1", 0)
    with AgentThread(agent), pytest.raises(AgentError, match="starts once"):
        AgentThread(agent).start()
