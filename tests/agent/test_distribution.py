"""The wheel that other people install: what it brings into an empty environment, and that it works there."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

AGENT = Path(__file__).parents[2] / "agent"
MOST_PACKAGES = 16
ADAPTER = "TASKROLL_AGENT_ADAPTER"

TRY_IT = """
import asyncio, sys
import taskroll_agent
assert not {"httpx", "pydantic", "starlette"} & sys.modules.keys(), "importing the package costs nothing yet"
from taskroll_agent import Agent, AgentError, AgentSettings, agent_app, serve_in_thread
from taskroll_agent.memory_cluster import MemoryCluster

async def main():
    cluster = MemoryCluster()
    cluster.commit_sources({"lib.m.Task": "class Task:\\n    version = 1\\n"})
    settings = AgentSettings.from_env(kube_url="http://unused", token="t")
    async with Agent(settings, cluster=cluster) as agent:
        assert agent_app(agent)
        assert agent.registry.get("Task").version == 1
    try:
        serve_in_thread(agent, "127.0.0.1", 0)
    except AgentError as error:
        assert "taskroll-agent[server]" in str(error)

asyncio.run(main())
print("worked")
"""


def run(*command: str | Path, **environment: str) -> str:
    done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, **environment}, cwd=AGENT)
    assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    run(sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", folder)
    (made,) = folder.glob("*.whl")
    return made


@pytest.fixture(scope="module")
def environment(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A virtual environment with nothing but the wheel and what it asks for."""
    folder = tmp_path_factory.mktemp("environment") / "venv"
    uv = Path(sys.executable).with_name("uv")
    run(uv, "venv", "--python", sys.executable, folder)
    run(uv, "pip", "install", "--python", folder, wheel)
    return folder


def test_it_brings_few_packages_and_none_of_the_heavy_ones(environment: Path) -> None:
    uv = Path(sys.executable).with_name("uv")
    names = {entry["name"] for entry in json.loads(run(uv, "pip", "list", "--python", environment, "--format", "json"))}
    assert "taskroll-agent" in names
    assert len(names) <= MOST_PACKAGES, sorted(names)
    assert not names & {"temporalio", "kubernetes", "taskroll", "uvicorn", "grpcio"}


def test_it_has_no_top_level_name_but_its_own(environment: Path) -> None:
    (site,) = environment.glob("lib/python*/site-packages")
    (information,) = site.glob("taskroll_agent-*.dist-info")
    files = [line.split(",")[0] for line in (information / "RECORD").read_text().splitlines()]
    assert {name.partition("/")[0] for name in files} == {"taskroll_agent", "taskroll-agent.pth", information.name}
    assert "taskroll_agent/py.typed" in files


def test_it_works_there(environment: Path) -> None:
    assert run(environment / "bin" / "python", "-c", TRY_IT, PYTHONPATH="") == "worked\n"


@pytest.mark.parametrize(
    ("adapter", "said"),
    [
        (None, ""),
        ("", ""),
        ("cornserve", "no adapter installed: ModuleNotFoundError: No module named 'wrapt'"),
        ("other", "no adapter installed: ValueError: 'other' is no adapter; known: cornserve"),
    ],
)
def test_an_interpreter_starts_whatever_the_adapter_variable_says(
    environment: Path, adapter: str | None, said: str
) -> None:
    program = "import sys; print('taskroll_agent' in sys.modules)"
    variables = {name: value for name, value in os.environ.items() if name not in (ADAPTER, "PYTHONPATH")}
    if adapter is not None:
        variables[ADAPTER] = adapter
    done = subprocess.run(
        [environment / "bin" / "python", "-c", program], capture_output=True, text=True, env=variables, cwd=AGENT.parent
    )
    assert done.returncode == 0
    assert done.stdout == f"{bool(adapter)}\n"
    assert done.stderr == (f"taskroll-agent: {ADAPTER}: {said}\n" if said else "")


def test_no_path_of_a_machine_is_in_it(wheel: Path) -> None:
    import zipfile

    checkout = Path(__file__).resolve().parents[2]
    with zipfile.ZipFile(wheel) as archive:
        for name in archive.namelist():
            text = archive.read(name)
            for folder in (checkout, Path.home()):
                assert f"{folder}/".encode() not in text, name
