"""Starting, stopping, restarting, and what is left when somebody dies. Each test has a stack of its own."""

from __future__ import annotations

import asyncio
import os
import random
import shutil
import signal
import subprocess
import sys
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import IO

import pytest
from kubernetes import aio as kubernetes
from kubernetes.client import AppsV1Api, CoreV1Api
from kubernetes.config import new_client_from_config
from temporalio.client import Client, WorkflowExecutionStatus

from taskroll.devstack import (
    DevStack,
    StackAlreadyRunning,
    StackInfo,
    StackNotRunning,
    StackStartFailed,
    delete_data,
    running_stack,
    stack_status,
    stop_stack,
)
from taskroll.devstack.binaries import locate
from taskroll.devstack.ports import DEFAULT_PORTS, pick_ports
from taskroll.devstack.progress import silent
from taskroll.devstack.versions import BinaryName

Eventually = Callable[..., None]
Gone = Callable[[Sequence[int]], bool]
MakeFake = Callable[..., Path]

# A process that owns a stack of etcd alone: the cheapest there is, and the machinery is the same for all.
OWNER = """
import sys, signal
from pathlib import Path
from taskroll.devstack import DevStack
with DevStack(Path(sys.argv[1]), components=["etcd"]) as info:
    print(info.model_dump_json(), flush=True)
    signal.pause()
"""


def _pids(info: StackInfo) -> list[int]:
    return [info.supervisor_pid, *(part.pid for part in info.components.values())]


def _etcd_alone(folder: Path, *, detach: bool = False) -> DevStack:
    return DevStack(folder, components=["etcd"], tell=silent, detach=detach)


def _unusual_ports() -> dict[str, int]:
    """Ports that no other stack on this machine looks for, so that they are free after a stop, too."""
    base = random.randrange(20_000, 29_000)
    return pick_ports({name: base + number for number, name in enumerate(DEFAULT_PORTS)})


def _owner(folder: Path) -> tuple[subprocess.Popen[str], StackInfo]:
    process = subprocess.Popen(
        [sys.executable, "-c", OWNER, str(folder)],
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])},
        start_new_session=True,
    )
    assert process.stdout
    return process, StackInfo.model_validate_json(_line(process.stdout))


def _line(stream: IO[str]) -> str:
    line = stream.readline()
    assert line, "the process ended without a word"
    return line


async def _config_map_names(info: StackInfo) -> set[str]:
    async with await kubernetes.config.new_client_from_config(str(info.kubeconfig), context="admin") as api:
        found = await kubernetes.client.CoreV1Api(api).list_namespaced_config_map("default", _request_timeout=10)
        return {item.metadata.name for item in found.items}


async def test_restart_keeps_data_ports_and_tokens(tmp_path: Path) -> None:
    workflow_id, folder = f"survives-{uuid.uuid4().hex}", tmp_path / "own"
    async with DevStack(folder, ports=_unusual_ports(), tell=silent) as first:
        async with await kubernetes.config.new_client_from_config(str(first.kubeconfig), context="admin") as api:
            body = {"metadata": {"name": "survives"}}
            await kubernetes.client.CoreV1Api(api).create_namespaced_config_map("default", body, _request_timeout=10)
        client = await Client.connect(first.temporal_address)
        await client.start_workflow("NobodyRunsThis", id=workflow_id, task_queue="none")
        kubeconfig = first.kubeconfig.read_text()
    assert stack_status(folder).state == "stopped"

    async with DevStack(folder, tell=silent) as second:
        assert second.environment() == first.environment()
        assert second.kubeconfig.read_text() == kubeconfig
        assert "survives" in await _config_map_names(second)
        client = await Client.connect(second.temporal_address)
        description = await client.get_workflow_handle(workflow_id).describe()
        assert description.status == WorkflowExecutionStatus.RUNNING

        # A killed server has written all that it said it had.
        own = DevStack(folder, tell=silent)
        await asyncio.to_thread(own.stop_component, "temporal", kill=True)
        await asyncio.to_thread(own.start_component, "temporal")
        client = await Client.connect(second.temporal_address)
        assert (await client.get_workflow_handle(workflow_id).describe()).status == WorkflowExecutionStatus.RUNNING

        # Its data may be lost while the rest runs on.
        assert (await asyncio.to_thread(own.stop_component, "temporal")).components["temporal"].pid == 0
        shutil.rmtree(folder / "temporal")
        third = await asyncio.to_thread(own.start_component, "temporal")
        assert third.temporal_address == second.temporal_address
        client = await Client.connect(third.temporal_address)
        assert [run.id async for run in client.list_workflows()] == []
        assert "survives" in await _config_map_names(third)


@pytest.mark.timeout(1500)  # where the cache has no controller manager it is built, once
def test_controllers_make_pods_of_a_deployment(tmp_path: Path, eventually: Eventually) -> None:
    name: BinaryName = "kube-controller-manager"
    container = {"name": "main", "image": "none"}
    spec = {"metadata": {"labels": {"app": "a"}}, "spec": {"containers": [container]}}
    body = {
        "metadata": {"name": "a"},
        "spec": {"replicas": 2, "selector": {"matchLabels": {"app": "a"}}, "template": spec},
    }
    with (
        DevStack(tmp_path, components=[name], tell=silent) as info,
        new_client_from_config(str(info.kubeconfig)) as api,
    ):
        AppsV1Api(api).create_namespaced_deployment("default", body, _request_timeout=10)
        core = CoreV1Api(api)
        eventually(
            lambda: len(core.list_namespaced_pod("default", _request_timeout=10).items) == 2, "two pods are made"
        )


def test_stack_and_supervisor_are_gone_after_the_block(tmp_path: Path, gone: Gone) -> None:
    with _etcd_alone(tmp_path) as info:
        assert not gone(_pids(info)[:1])
        assert info.temporal_address == info.kube_url == ""
    assert gone(_pids(info))
    assert running_stack(tmp_path) is None
    assert not (tmp_path / "stack.json").exists()


def test_a_second_stack_takes_other_ports(stack: StackInfo, tmp_path: Path) -> None:
    taken = {"etcd": int(stack.etcd_url.rpartition(":")[2])}
    with DevStack(tmp_path, components=["etcd"], ports=taken, tell=silent) as second:
        assert second.etcd_url != stack.etcd_url


def test_ports_stay_the_same_after_a_restart_even_if_the_usual_ones_are_free(tmp_path: Path) -> None:
    wanted = _unusual_ports()
    with DevStack(tmp_path, components=["etcd"], ports=wanted, tell=silent) as first:
        assert first.etcd_url.endswith(f":{wanted['etcd']}")
    with _etcd_alone(tmp_path) as second:
        assert second.etcd_url == first.etcd_url


async def test_a_cancelled_start_leaves_nothing(tmp_path: Path) -> None:
    starting = asyncio.create_task(_etcd_alone(tmp_path).__aenter__())
    await asyncio.sleep(0)
    starting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await starting
    assert stack_status(tmp_path).state in {"stopped", "absent"}


def test_killed_owner_leaves_no_orphan(tmp_path: Path, eventually: Eventually, gone: Gone) -> None:
    owner, info = _owner(tmp_path)
    owner.kill()
    owner.wait()
    eventually(lambda: gone(_pids(info)), "supervisor and etcd are gone")
    assert stack_status(tmp_path).state == "stopped"


def test_killed_supervisor_leaves_no_orphan_and_is_seen_as_a_crash(
    tmp_path: Path, eventually: Eventually, gone: Gone
) -> None:
    stack = _etcd_alone(tmp_path)
    info = stack.start()
    os.kill(info.supervisor_pid, signal.SIGKILL)
    eventually(lambda: gone(_pids(info)), "supervisor and etcd are gone")
    stack.stop()
    assert stack_status(tmp_path).state == "crashed"
    assert running_stack(tmp_path) is None
    # Nothing needs to be cleaned by hand.
    with _etcd_alone(tmp_path):
        assert stack_status(tmp_path).state == "running"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_ctrl_c_in_the_terminal_ends_all_in_order(
    number: signal.Signals, tmp_path: Path, eventually: Eventually, gone: Gone
) -> None:
    owner, info = _owner(tmp_path)
    # A terminal signals the whole foreground group, a supervisor of services the process alone.
    os.killpg(owner.pid, number) if number == signal.SIGINT else owner.send_signal(number)
    owner.wait(20)
    eventually(lambda: gone(_pids(info)), "supervisor and etcd are gone")
    assert stack_status(tmp_path).state == "stopped"


def test_a_component_that_dies_is_started_again_where_it_was(
    tmp_path: Path, eventually: Eventually, gone: Gone
) -> None:
    with _etcd_alone(tmp_path) as info:
        os.kill(info.components["etcd"].pid, signal.SIGKILL)

        def revived() -> bool:
            now = running_stack(tmp_path)
            return now is not None and now.components["etcd"].restarts == 1 and now.components["etcd"].pid != 0

        eventually(revived, "etcd runs again")
        now = running_stack(tmp_path)
        assert now
        assert now.etcd_url == info.etcd_url
    assert gone(_pids(now))


def test_a_component_that_keeps_dying_ends_the_stack(
    tmp_path: Path, make_fake: MakeFake, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, marker = locate("etcd", silent).path, tmp_path / "second time"
    body = f"[ -e '{marker}' ] && exit 9; touch '{marker}'; exec '{real}' \"$@\""
    monkeypatch.setenv("TASKROLL_ETCD_BIN", str(make_fake(tmp_path / "fake", "etcd", "3.6.16", body)))
    stack = _etcd_alone(tmp_path / "data")
    info = stack.start()
    os.kill(info.components["etcd"].pid, signal.SIGKILL)
    assert stack.wait() == 1
    assert stack_status(tmp_path / "data").state == "stopped"
    assert "etcd the last" in (tmp_path / "data" / "logs" / "supervisor.log").read_text()


def test_a_component_stopped_on_purpose_stays_down_until_it_is_started(tmp_path: Path, gone: Gone) -> None:
    # Longer than a socket's address may be.
    folder = tmp_path / ("long-" * 30)
    stack = _etcd_alone(folder)
    with stack as info:
        down = stack.stop_component("etcd", kill=True)
        assert down.components["etcd"].pid == 0
        assert gone([info.components["etcd"].pid])
        assert "ended by itself" not in (folder / "logs" / "supervisor.log").read_text()
        up = stack.start_component("etcd")
        assert up.components["etcd"].pid
        assert up.components["etcd"].restarts == 0
    with pytest.raises(StackNotRunning):
        stack.stop_component("etcd")


@pytest.fixture
def detached_folder(tmp_path: Path) -> Iterator[Path]:
    """A data folder; a detached stack on it ends with the test, also when that fails."""
    yield tmp_path
    with suppress(StackNotRunning):
        stop_stack(tmp_path)


def test_detached_stack_outlives_its_starter_until_it_is_stopped(detached_folder: Path, gone: Gone) -> None:
    tmp_path = detached_folder
    info, started = _etcd_alone(tmp_path, detach=True).ensure()
    assert started
    assert info.owner_pid is None
    # No terminal can reach it.
    assert os.getsid(info.supervisor_pid) == info.supervisor_pid
    with pytest.raises(StackAlreadyRunning):
        _etcd_alone(tmp_path).start()
    with pytest.raises(StackAlreadyRunning):
        delete_data(tmp_path)
    assert _etcd_alone(tmp_path, detach=True).ensure() == (info, False)
    stop_stack(tmp_path)
    assert gone(_pids(info))
    with pytest.raises(StackNotRunning):
        stop_stack(tmp_path)


def test_delete_data_takes_only_what_is_the_stack_s(tmp_path: Path) -> None:
    with _etcd_alone(tmp_path):
        pass
    (tmp_path / "mine.txt").write_text("keep")
    delete_data(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]
    assert stack_status(tmp_path).state == "absent"


def test_a_component_that_does_not_start_is_named_with_its_last_words(
    tmp_path: Path, make_fake: MakeFake, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = make_fake(tmp_path / "fake", "etcd", "3.6.16", "echo the disk is on fire; exit 7")
    monkeypatch.setenv("TASKROLL_ETCD_BIN", str(broken))
    with pytest.raises(StackStartFailed, match=r"(?s)etcd ended with code 7.*the disk is on fire"):
        _etcd_alone(tmp_path / "data").start()
    assert stack_status(tmp_path / "data").state == "stopped"


def test_a_component_that_never_serves_is_given_up(
    tmp_path: Path, make_fake: MakeFake, monkeypatch: pytest.MonkeyPatch, gone: Gone
) -> None:
    pid_file = tmp_path / "pid"
    deaf = make_fake(tmp_path / "fake", "etcd", "3.6.16", f"echo $$ > {pid_file}; trap '' TERM; exec sleep 600")
    monkeypatch.setenv("TASKROLL_ETCD_BIN", str(deaf))
    with pytest.raises(StackStartFailed, match="not ready after 1 s"):
        DevStack(tmp_path / "data", components=["etcd"], start_timeout=1, stop_grace=0.5, tell=silent).start()
    assert gone([int(pid_file.read_text())])


@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        (["temporal"], ["temporal"]),
        (["kube-apiserver"], ["etcd", "kube-apiserver"]),
        (["kube-controller-manager"], ["etcd", "kube-apiserver", "kube-controller-manager"]),
    ],
)
def test_components_bring_what_they_need(asked: list[BinaryName], expected: list[BinaryName], tmp_path: Path) -> None:
    assert DevStack(tmp_path, components=asked).components == expected
