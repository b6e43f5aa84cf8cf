"""What is away or forbidden, and what the command then says."""

from collections.abc import Callable
from pathlib import Path

import pytest

from starter.cli.command import report
from starter.cli.exit_codes import of_error
from taskroll.models.errors import TamperedState

from .place import Place

Package = Callable[..., Path]
AWAY = "127.0.0.1:1"


async def test_temporal_is_away(place: Place, package: Package) -> None:
    ran = await place.run("deploy", str(package(1)), "--request-id", "one", TEMPORAL_ADDRESS=AWAY)
    assert (ran.code, ran.out) == (4, "")
    assert AWAY in ran.err
    assert "--temporal-address" in ran.err
    # Nothing was written under the id, so that another request may still use it.
    assert (await place.run("deploy", str(package(2)), "--request-id", "one")).code == 0


@pytest.mark.parametrize("command", [["versions"], ["approve", "x"], ["abort", "x"], ["status", "x"]])
async def test_temporal_is_away_for(place: Place, command: list[str]) -> None:
    ran = await place.run(*command, TEMPORAL_ADDRESS=AWAY)
    assert ran.code == 4
    assert "Connection refused" in ran.err


async def test_what_has_ended_can_be_looked_at_without_temporal(place: Place, package: Package) -> None:
    await place.deployed(package(1), "one")
    history = await place.run("history", TEMPORAL_ADDRESS=AWAY)
    assert (history.code, history.out.splitlines()[1].split()[:4]) == (0, ["1", "current", "update", "completed"])
    status = await place.run("status", "one", "-o", "json", TEMPORAL_ADDRESS=AWAY)
    assert (status.code, status.document()["execution"]) == (0, "recorded")
    assert status.document()["status"]["outcome"] == "completed"
    assert AWAY in status.document()["notice"]
    again = await place.run("deploy", str(package(1)), "--request-id", "one", TEMPORAL_ADDRESS=AWAY)
    assert again.code == 0, again.err
    listed = await place.run("list", TEMPORAL_ADDRESS=AWAY)
    assert listed.code == 0
    assert "one" in listed.out
    assert AWAY in listed.err


@pytest.mark.parametrize("command", [["history"], ["list"], ["rollback"], ["deploy"]])
async def test_the_api_server_is_away(place: Place, package: Package, tmp_path: Path, command: list[str]) -> None:
    kubeconfig = tmp_path / "away.yaml"
    text = place.stack.kubeconfig.read_text()
    kubeconfig.write_text(text.replace(place.stack.kube_url, "https://127.0.0.1:1"))
    arguments = [*command, str(package(1))] if command == ["deploy"] else command
    ran = await place.run(*arguments, "--kubeconfig", str(kubeconfig))
    assert (ran.code, ran.out) == (4, "")
    assert "API server cannot be reached" in ran.err


@pytest.mark.parametrize("content", ["garbage: [", ""])
async def test_the_kubeconfig_cannot_be_used(place: Place, tmp_path: Path, content: str) -> None:
    kubeconfig = tmp_path / "wrong.yaml"
    kubeconfig.write_text(content)
    ran = await place.run("list", "--kubeconfig", str(kubeconfig))
    assert (ran.code, ran.out) == (2, "")
    assert ran.err.startswith(f"error: kubeconfig {kubeconfig} ")
    assert "--kubeconfig" in ran.err


async def test_the_api_server_forbids_it(place: Place, package: Package) -> None:
    # The dev stack's user «developer» has rights in namespaces where they were granted, and in no other.
    ran = await place.run("deploy", str(package(1)), "-n", "default", "--context", "developer")
    assert (ran.code, ran.out) == (6, "")
    assert "forbidden" in ran.err


async def test_a_developer_may_deploy_and_look(place: Place, package: Package) -> None:
    ran = await place.run("deploy", str(package(1)), "--context", "developer")
    assert ran.code == 0, ran.err
    assert (await place.run("history", "--context", "developer")).code == 0
    assert (await place.run("list", "--context", "developer")).code == 0
    assert (await place.run("rollback", "--context", "developer")).code == 3


async def test_no_such_context(place: Place) -> None:
    ran = await place.run("history", "--context", "nobody")
    assert ran.code == 2
    assert "'nobody'" in ran.err


async def test_no_worker(idle_place: Place, package: Package) -> None:
    submitted = await idle_place.run("deploy", str(package(1)), "--request-id", "one", "--no-wait")
    assert submitted.code == 0, "a request needs no worker: it is picked up when one comes"
    for command in (["status", "one"], ["versions"]):
        ran = await idle_place.run(*command)
        assert ran.code == 4, command
        assert repr(idle_place.settings.task_queue) in ran.err
        assert "no worker polls it" in ran.err
        assert "taskroll-worker" in ran.err
    waited = await idle_place.run("watch", "one", "--timeout", "10")
    assert waited.code == 14
    assert waited.err.count("no worker polls it") == 1, "said once, while the watch goes on"


async def test_a_profile_that_does_not_exist(place: Place) -> None:
    ran = await place.run("versions", "--profile", "nobody", TEMPORAL_CONFIG_FILE="/nonexistent/temporal.toml")
    assert ran.code == 2
    assert "'nobody'" in ran.err


async def test_a_profile_says_where_temporal_is(place: Place, tmp_path: Path) -> None:
    (tmp_path / "temporal.toml").write_text(f'[profile.there]\naddress = "{AWAY}"\nnamespace = "elsewhere"\n')
    environ = {"TEMPORAL_CONFIG_FILE": str(tmp_path / "temporal.toml"), "TEMPORAL_ADDRESS": None}
    ran = await place.run("versions", "--profile", "there", **environ)
    assert ran.code == 4
    assert f"Temporal at {AWAY} (namespace 'elsewhere')" in ran.err
    flag = await place.run("versions", "--profile", "there", "--temporal-address", "127.0.0.1:2", **environ)
    assert "Temporal at 127.0.0.1:2 (namespace 'elsewhere')" in flag.err


async def test_no_such_temporal_namespace(place: Place) -> None:
    ran = await place.run("versions", TEMPORAL_NAMESPACE="nowhere")
    assert ran.code == 4
    assert "no namespace 'nowhere'" in ran.err


async def test_an_address_without_a_port(place: Place) -> None:
    ran = await place.run("status", "x", TEMPORAL_ADDRESS="foo")
    assert (ran.code, ran.out) == (2, "")
    assert "Temporal address 'foo' is no address: write host:port in --temporal-address" in ran.err


async def test_a_namespace_that_does_not_exist(place: Place, package: Package) -> None:
    ran = await place.run("deploy", str(package(1)), "--namespace", "nowhere")
    assert ran.code == 3, ran.err
    assert 'namespaces "nowhere" not found; kubectl create namespace makes it, and --namespace names another' in ran.err


def test_state_that_was_edited_by_hand(capsys: pytest.CaptureFixture[str]) -> None:
    code = report(TamperedState("ConfigMap/taskroll-release: its digest does not match its content"), debug=False)
    assert code == of_error(TamperedState(""))
    assert capsys.readouterr().err.splitlines()[-1] == "what mends it: taskroll doctor"
