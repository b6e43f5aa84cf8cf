"""What `kubectl get taskupdates` says of an update while it runs, from its beginning to its end."""

import asyncio
from typing import Any

import pytest

from activities import phase_notes
from taskroll.cluster.errors import Unavailable
from taskroll.cluster.resources import TASK_UPDATE
from taskroll.cluster.transport import Call
from taskroll.models.decision import AbortInput, DecisionInput, ResumeInput
from taskroll.models.status import Phase, StepName

from .sources import library
from .test_approval import ASKING
from .world import World

FORWARD: dict[StepName, Phase] = {
    "fence": "draining",
    "check": "draining",
    "stage": "applying",
    "prepare": "applying",
    "patch": "applying",
    "commit": "applying",
    "invalidate": "applying",
    "verify": "applying",
}


async def _row(world: World, request_id: str) -> tuple[str | None, ...]:
    accept = "application/json;as=Table;v=v1;g=meta.k8s.io"
    call = Call("list", TASK_UPDATE.path(world.namespace), "TaskUpdate", accept=accept)
    table: dict[str, Any] = await world.cluster.send(call)
    names = [column["name"] for column in table["columnDefinitions"]]
    for row in table["rows"]:
        cells = dict(zip(names, row["cells"], strict=True))
        if cells["Name"] == request_id:
            return cells["Phase"], cells["Step"], cells["Outcome"]
    return ()


async def _says(world: World, request_id: str, *row: str | None) -> None:
    """Wait until the row of the update is this one."""
    found: tuple[str | None, ...] = ()
    try:
        async with asyncio.timeout(15):
            while (found := await _row(world, request_id)) != row:
                await asyncio.sleep(0.02)
    except TimeoutError:
        raise AssertionError(f"kubectl says {found}, not {row}") from None


async def test_each_step_that_takes_its_time_on_the_way_forward(world: World) -> None:
    holds = {step: world.faults.hold(step) for step in FORWARD}
    request_id = await world.submit(library(1), policy=ASKING)
    await _says(world, request_id, "awaiting-approval", None, None)
    await world.in_phase(request_id, "awaiting-approval")  # the record says so a moment before
    await world.client.decide(request_id, DecisionInput(decision="approved", by="anna"))
    for step, phase in FORWARD.items():
        await _says(world, request_id, phase, step, None)
        holds[step].release()
    assert (await world.ended(request_id)).status.outcome == "completed"
    assert await _row(world, request_id) == ("ended", None, "completed")


async def test_one_that_stands_in_line_and_then_drains(world: World) -> None:
    await world.update(library(1))
    ahead = world.faults.hold("patch")
    first = await world.submit(library(2))
    await ahead.reached.wait()
    second = await world.submit(library(3))
    await _says(world, second, "queued", "fence", None)
    check = world.faults.hold("check")
    ahead.release()
    await _says(world, second, "draining", "check", None)
    check.release()
    assert (await world.ended(first)).status.outcome == "completed"
    assert (await world.ended(second)).status.outcome == "completed"
    assert await _row(world, second) == ("ended", None, "completed")


async def test_a_plan_that_takes_its_time_says_what_comes_after_it(world: World) -> None:
    hold = world.faults.hold("plan", "after")
    request_id = await world.submit(library(1), policy=ASKING)
    await hold.reached.wait()
    await asyncio.sleep(2 * phase_notes.NOTED_AFTER)  # in which nothing is to happen
    hold.release()
    await world.in_phase(request_id, "awaiting-approval")
    assert await _row(world, request_id) == ("awaiting-approval", None, None)
    await world.client.abort(request_id, AbortInput(by="otto"))
    await world.ended(request_id)


async def test_on_the_way_back_parked_and_resumed(world: World) -> None:
    await world.update(library(1))
    world.faults.fail("verify")
    world.faults.fail("restore-definitions")
    back = world.faults.hold("revert-release")
    request_id = await world.submit(library(2))
    await _says(world, request_id, "rolling-back", "revert-release", None)
    back.release()
    await _says(world, request_id, "needs-operator", None, "needs_operator")
    again = world.faults.hold("restore-definitions")
    await world.client.resume(request_id, ResumeInput(by="otto"))
    await _says(world, request_id, "rolling-back", "restore-definitions", None)
    again.release()
    await _says(world, request_id, "ended", None, "rolled_back")


@pytest.mark.parametrize("trouble", ["refused", "no answer"])
async def test_a_note_that_cannot_be_written_holds_up_nothing(
    world: World, monkeypatch: pytest.MonkeyPatch, trouble: str
) -> None:
    tried: list[StepName] = []

    async def note_step(cluster: object, namespace: str, request_id: str, phase: Phase, step: StepName) -> None:
        tried.append(step)
        if trouble == "refused":
            raise Unavailable(Call("read", "/", "TaskUpdate"), "seeded")
        await asyncio.Event().wait()

    monkeypatch.setattr(phase_notes, "note_step", note_step)
    hold = world.faults.hold("patch")
    request_id = await world.submit(library(1))
    await hold.reached.wait()
    async with asyncio.timeout(15):
        while "patch" not in tried:
            await asyncio.sleep(0.02)
    assert (await _row(world, request_id))[0] == "planning"
    hold.release()
    assert (await world.ended(request_id)).status.outcome == "completed"


async def test_steps_that_are_over_at_once_cost_no_request(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    tried: list[StepName] = []

    async def note_step(cluster: object, namespace: str, request_id: str, phase: Phase, step: StepName) -> None:
        tried.append(step)

    monkeypatch.setattr(phase_notes, "note_step", note_step)
    monkeypatch.setattr(phase_notes, "NOTED_AFTER", 60.0)
    assert (await world.update(library(1))).status.outcome == "completed"
    assert not tried
