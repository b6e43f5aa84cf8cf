"""approve, reject, abort, resume, watch: what they say and how they end."""

import asyncio
from collections.abc import AsyncGenerator, Callable
from pathlib import Path

import pytest

from starter.client import TaskrollClient
from taskroll.models.decision import AbortInput
from taskroll.models.names import workflow_id

from .place import Place, interrupt, line_with

Package = Callable[..., Path]


async def waiting(place: Place, folder: Path, client: TaskrollClient, request_id: str = "one") -> str:
    """Start an update that waits for an approval; return its plan's digest."""
    ran = await place.run(
        "deploy", str(folder), "--request-id", request_id, "--approval", "required", "--no-wait", "-o", "json"
    )
    assert ran.code == 0, ran.err
    assert ran.document()["is_new"] is True
    async for view in client.watch(request_id):
        if view.status.phase == "awaiting-approval":
            assert view.status.plan is not None
            return view.status.plan.digest
    raise AssertionError("never waited")


async def test_approval_by_the_plan_that_was_seen(place: Place, package: Package, client: TaskrollClient) -> None:
    digest = await waiting(place, package(1), client)
    other = await place.run("approve", "one", "--plan", "sha256:" + "0" * 64)
    assert other.code == 5
    assert digest in other.err, "the refusal names the plan that waits"
    ran = await place.run("approve", "one", "--plan", digest, "--by", "jane", "--reason", "fine", "-o", "json")
    assert ran.code == 0, ran.err
    taken = ran.document()
    assert (taken["decision"], taken["by"], taken["plan_digest"]) == ("approved", "jane", digest)
    watched = await place.run("watch", "one", "-o", "json")
    assert (watched.code, watched.document()["status"]["outcome"]) == (0, "completed")
    assert watched.document()["status"]["decisions"][0]["by"] == "jane"
    late = await place.run("approve", "one")
    assert late.code == 5
    assert "has ended (completed)" in late.err


async def test_rejection_ends_the_update_with_its_own_code(
    place: Place, package: Package, client: TaskrollClient
) -> None:
    await waiting(place, package(1), client)
    assert (await place.run("reject", "one", "--reason", "not today")).code == 0
    ran = await place.run("watch", "one")
    assert ran.code == 12
    assert "rejected by tester: not today" in ran.out
    assert await client.cluster.definitions() == {}


async def test_abort_takes_back_and_waits_where_asked(place: Place, package: Package, client: TaskrollClient) -> None:
    await waiting(place, package(1), client)
    ran = await place.run("abort", "one", "--reason", "wrong package", "--wait", "-o", "json")
    assert ran.code == 11, ran.err
    assert ran.document()["status"]["message"] == "aborted by tester: wrong package"


@pytest.mark.parametrize(("command", "code", "outcome"), [("approve", 0, "completed"), ("reject", 12, "rejected")])
async def test_a_decision_waits_where_asked(
    place: Place, package: Package, client: TaskrollClient, command: str, code: int, outcome: str
) -> None:
    await waiting(place, package(1), client)
    ran = await place.run(command, "one", "--wait", "-o", "json")
    assert ran.code == code, ran.err
    assert ran.document()["status"]["outcome"] == outcome
    assert f"update one {ran.document()['status']['decisions'][0]['decision']} by tester: plan sha256:" in ran.err


async def test_a_decision_waits_no_longer_than_asked(place: Place, package: Package, client: TaskrollClient) -> None:
    await place.deployed(package(1))
    await place.create_instance("Echo")
    await waiting(place, package(2), client)
    ran = await place.run("approve", "one", "--wait", "--timeout", "1")
    assert ran.code == 14, ran.err
    await client.abort("one", AbortInput(by="tester"))
    await client.wait("one")


async def terminate(client: TaskrollClient, request_id: str) -> None:
    temporal = await client.temporal.client()
    handle = temporal.get_workflow_handle(workflow_id(client.settings.namespace, request_id))
    await handle.terminate(reason="a test")


async def test_resume_finishes_an_update_whose_workflow_is_gone(
    place: Place, package: Package, client: TaskrollClient
) -> None:
    await waiting(place, package(1), client)
    await terminate(client, "one")
    assert (await place.run("watch", "one")).code == 13
    ran = await place.run("resume", "one", "--wait", "-o", "json")
    assert ran.code == 11, ran.err
    status = ran.document()["status"]
    assert "its workflow was terminated" in status["message"]
    assert status["plan"]["create"] == ["TaskDefinition/echo"], "the record names the plan, and does not hold it"
    assert (await place.run("resume", "one")).code == 5


async def test_reconcile_says_what_it_found(place: Place, package: Package, client: TaskrollClient) -> None:
    await waiting(place, package(1), client)
    assert (await place.run("reconcile")).out.strip() == "1 under way"
    await terminate(client, "one")
    ran = await place.run("reconcile", "-o", "json")
    assert (ran.code, ran.document()["recovering"]) == (0, ["one"]), ran.err


async def test_release_fence_needs_a_reason_and_an_update_that_does_not_go_on(
    place: Place, package: Package, client: TaskrollClient
) -> None:
    await waiting(place, package(1), client)
    assert (await place.run("release-fence", "one")).code == 2
    ran = await place.run("release-fence", "one", "--reason", "impatience")
    assert ran.code == 5
    assert "taskroll abort one" in ran.err
    await terminate(client, "one")
    ran = await place.run("release-fence", "one", "--reason", "repaired by hand", "--wait", "-o", "json")
    assert ran.code == 13, ran.err
    status = ran.document()["status"]
    assert status["outcome"] == "released"
    assert "fence released by tester: repaired by hand" in status["message"]


@pytest.mark.parametrize("command", ["status", "watch", "approve", "reject", "abort", "resume"])
async def test_an_unknown_update(place: Place, command: str) -> None:
    ran = await place.run(command, "nobody-knows")
    assert (ran.code, ran.out) == (3, "")
    assert "'nobody-knows'" in ran.err
    assert "taskroll list" in ran.err


async def test_what_comes_at_the_wrong_time(place: Place, package: Package) -> None:
    await place.deployed(package(1), "done")
    for command in ("approve", "reject", "abort", "resume"):
        ran = await place.run(command, "done")
        assert (ran.code, ran.out) == (5, ""), command
        assert "completed" in ran.err


async def test_watch_says_when_each_step_was(place: Place, package: Package, client: TaskrollClient) -> None:
    """Not when it looked: a log of a watch that began late tells the same times."""
    await place.deployed(package(1), "done")
    ran = await place.run("watch", "done")
    steps = (await client.status("done")).status.steps
    said = [line for line in ran.err.splitlines() if ": done after " in line]
    assert [line.partition(": done")[0] for line in said] == [
        f"{step.ended_at:%H:%M:%SZ} {step.name}" for step in steps
    ]


async def test_ctrl_c_leaves_the_update_and_says_how_to_come_back(
    place: Place, package: Package, client: TaskrollClient
) -> None:
    process = await place.start(
        "deploy", str(package(1)), "--request-id", "one", "--approval", "required", "-n", place.settings.namespace
    )
    await line_with(process.stderr, "waits for an approver")
    ran = await interrupt(process)
    assert ran.code == 130
    assert f"taskroll watch one -n {place.settings.namespace}" in ran.err
    assert "Traceback" not in ran.err
    assert (await client.status("one")).execution == "running"
    await client.abort("one", AbortInput(by="tester"))
    await client.wait("one")


async def test_ctrl_c_while_the_command_is_still_being_loaded(place: Place, package: Package) -> None:
    process = await place.start("deploy", str(package(1)), PYTHONPROFILEIMPORTTIME="1")
    await line_with(process.stderr, "click")
    ran = await interrupt(process)
    assert (ran.code, ran.out) == (130, "")
    assert "interrupted; no update was sent" in ran.err
    assert "Traceback" not in ran.err


@pytest.fixture
async def mute() -> AsyncGenerator[tuple[str, asyncio.Event]]:
    """A server that takes connections and never says anything: its address, and the event of a connection."""
    connected, over = asyncio.Event(), asyncio.Event()

    async def hold(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connected.set()
        await over.wait()
        writer.close()

    server = await asyncio.start_server(hold, "127.0.0.1", 0)
    yield "{}:{}".format(*server.sockets[0].getsockname()[:2]), connected
    over.set()
    server.close()


async def test_ctrl_c_before_anything_is_sent(place: Place, tmp_path: Path, mute: tuple[str, asyncio.Event]) -> None:
    address, connected = mute
    kubeconfig = tmp_path / "mute.yaml"
    kubeconfig.write_text(place.stack.kubeconfig.read_text().replace(place.stack.kube_url, f"http://{address}"))
    process = await place.start("adopt", "--kubeconfig", str(kubeconfig))
    await connected.wait()
    ran = await interrupt(process)
    assert (ran.code, ran.out) == (130, "")
    assert "interrupted; no update was sent" in ran.err


async def test_ctrl_c_while_the_request_is_being_sent(
    place: Place, package: Package, mute: tuple[str, asyncio.Event]
) -> None:
    address, connected = mute
    process = await place.start("deploy", str(package(1)), "--request-id", "one", "--temporal-address", address)
    await connected.wait()
    ran = await interrupt(process)
    assert (ran.code, ran.out) == (130, "")
    assert f"update one may have been started. See: taskroll status one --temporal-address {address}" in ran.err
    assert "no update was sent" not in ran.err


async def test_a_line_per_change_while_it_goes_on(place: Place, package: Package, client: TaskrollClient) -> None:
    await waiting(place, package(1), client)
    process = await place.start("watch", "one")
    await line_with(process.stderr, "waits for an approver: taskroll approve one")
    await place.run("approve", "one")
    out, err = await asyncio.wait_for(process.communicate(), 60)
    assert process.returncode == 0
    assert b"verify: done" in err
    assert b"completed, release 1" in out
