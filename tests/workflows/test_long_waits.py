"""Branches that wait for days, on the time-skipping server; what they rest on is shown on the real server elsewhere."""

import asyncio
import secrets
from collections.abc import AsyncGenerator, Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from temporalio.api.enums.v1 import IndexedValueType
from temporalio.api.operatorservice.v1 import AddSearchAttributesRequest
from temporalio.client import Client, WorkflowExecutionStatus, WorkflowFailureError, WorkflowHandle
from temporalio.contrib.pydantic import pydantic_data_converter
from temporalio.testing import WorkflowEnvironment
from temporalio.worker import Replayer, Worker

from taskroll.devstack.time_skipping import time_skipping_server
from taskroll.models.decision import ResumeInput, Vote
from taskroll.models.policy import DAY, UpdatePolicy
from taskroll.models.recovery import Assessment
from taskroll.models.request import UpdateInput
from taskroll.models.status import UpdateStatus
from taskroll.models.steps import FenceResult, RevertResult
from workflows.search_attributes import PHASE
from workflows.task_update import TaskUpdateWorkflow

from .changed_workflows import FailsWhereTakenOver, WithBug
from .scripted_activities import DIGEST, Script


@pytest.fixture(scope="module")
async def skipping() -> AsyncGenerator[WorkflowEnvironment]:
    environment = await WorkflowEnvironment.start_time_skipping(
        test_server_existing_path=str(time_skipping_server()), data_converter=pydantic_data_converter
    )
    async with environment:
        await environment.client.operator_service.add_search_attributes(
            AddSearchAttributesRequest(
                namespace="default", search_attributes={PHASE.name: IndexedValueType.INDEXED_VALUE_TYPE_KEYWORD}
            )
        )
        yield environment


@pytest.fixture
async def start(skipping: WorkflowEnvironment):
    """Start an update whose activities follow a script; the worker ends with the test."""
    workers: list[Worker] = []

    async def run(script: Script, **policy: Any) -> WorkflowHandle[Any, UpdateStatus]:
        queue = f"q-{secrets.token_hex(4)}"
        worker = Worker(
            skipping.client, task_queue=queue, workflows=[TaskUpdateWorkflow], activities=script.activities()
        )
        workers.append(worker)
        await worker.__aenter__()
        request = UpdateInput(
            namespace="tests",
            request_id="r",
            request_digest=DIGEST,
            requested_by="tester",
            reason="a test",
            policy=UpdatePolicy(**policy),
        )
        return await skipping.client.start_workflow(
            TaskUpdateWorkflow.run, request, id=f"task-update/tests/{queue}", task_queue=queue
        )

    yield run
    for worker in workers:
        await worker.__aexit__(None, None, None)


async def until(handle: WorkflowHandle[Any, UpdateStatus], reached: Callable[[UpdateStatus], bool]) -> UpdateStatus:
    """Ask for the status until it is as wanted."""
    async with asyncio.timeout(30):
        while not reached(status := await handle.query(TaskUpdateWorkflow.status)):
            await asyncio.sleep(0.02)
    return status


def asks_about_plan(number: int) -> Callable[[UpdateStatus], bool]:
    return lambda status: (
        status.phase == "awaiting-approval" and status.plan is not None and status.plan.number == number
    )


async def test_nobody_approves_for_a_week(start) -> None:
    script = Script()
    handle = await start(script, approval="required", approval_timeout=7 * DAY)
    status = await handle.result()
    assert status.outcome == "rejected"
    assert (status.ended_at - status.started_at) >= timedelta(days=7)
    assert script.calls == ["plan", "finish"]


async def test_approved_on_the_third_day(start, skipping: WorkflowEnvironment) -> None:
    script = Script()
    handle = await start(script, approval="required")
    await skipping.sleep(timedelta(days=3))
    await handle.signal("approve", Vote(by="anna"))
    assert (await handle.result()).outcome == "completed"


async def test_drift_asks_for_the_approval_again(start) -> None:
    script = Script()
    script.play("fence", FenceResult(held=False, drifted=True))
    handle = await start(script, approval="required")
    for number in (1, 2):
        await until(handle, asks_about_plan(number))
        await handle.signal("approve", Vote(by="anna"))
    status = await handle.result()
    assert status.outcome == "completed"
    assert script.calls[:4] == ["plan", "fence", "plan", "fence"]
    assert len({decision.plan_digest for decision in status.decisions}) == 2


async def test_approval_that_comes_before_the_plan_counts_for_nothing(start) -> None:
    script = Script()
    handle = await start(script, approval="required", approval_timeout=DAY)
    await handle.signal("approve", Vote(by="hasty", plan_digest=DIGEST))
    assert (await handle.result()).outcome == "rejected"


async def test_definitions_that_never_stand_still_end_the_update(start) -> None:
    script = Script()
    script.play("fence", *(FenceResult(held=True, drifted=True) for _ in range(30)))
    handle = await start(script)
    with pytest.raises(WorkflowFailureError):
        await handle.result()
    assert script.finished[-1].status.outcome == "rolled_back"
    assert script.calls.count("plan") == 20


async def test_nothing_differs(start) -> None:
    script = Script()
    script.play("plan", script.plan_summary(1, empty=True))
    handle = await start(script)
    assert (await handle.result()).outcome == "no_change"
    assert script.calls == ["plan", "finish"]


@pytest.mark.parametrize("code", ["InvalidSource", "RefusedByCluster", "UnknownRelease", "InvalidRequest"])
async def test_wrong_request_is_rejected_and_not_rolled_back(start, code: str) -> None:
    script = Script()
    script.fail("plan", code)
    handle = await start(script)
    assert (await handle.result()).outcome == "rejected"
    assert script.calls == ["plan", "finish"]


async def test_line_is_shown_while_it_waits(start) -> None:
    script = Script()
    script.play("fence", FenceResult(held=False, ahead=["other"]), FenceResult(held=True))
    handle = await start(script)
    status = await handle.result()
    assert status.outcome == "completed"
    assert script.calls[:3] == ["plan", "fence", "fence"]


async def test_compensations_run_last_first(start) -> None:
    script = Script()
    script.fail("verify")
    handle = await start(script)
    with pytest.raises(WorkflowFailureError):
        await handle.result()
    assert script.calls[script.calls.index("verify") + 1 :] == [
        "revert-release", "invalidate", "verify", "restore-definitions", "abort-prepare", "finish",
    ]  # fmt: skip


async def test_what_was_not_begun_is_not_taken_back(start) -> None:
    script = Script()
    script.fail("prepare")
    handle = await start(script)
    with pytest.raises(WorkflowFailureError):
        await handle.result()
    assert script.calls == ["plan", "fence", "check", "stage", "prepare", "abort-prepare", "finish"]


async def test_commit_that_did_nothing_needs_no_verification_of_its_reversal(start) -> None:
    script = Script()
    script.fail("commit")
    script.play("revert-release", RevertResult(committed=None))
    handle = await start(script)
    with pytest.raises(WorkflowFailureError):
        await handle.result()
    assert "invalidate" not in script.calls


async def test_failing_compensation_does_not_stop_the_others_and_is_tried_again_on_resume(
    start, skipping: WorkflowEnvironment
) -> None:
    script = Script()
    script.fail("verify")
    script.fail("revert-release", "TamperedState")
    handle = await start(script)
    await until(handle, lambda status: status.outcome == "needs_operator")
    assert script.calls[-4:] == ["revert-release", "restore-definitions", "abort-prepare", "finish"]
    assert script.finished[-1].keep_fence
    await skipping.sleep(timedelta(days=30))
    await handle.signal("resume", ResumeInput(by="operator"))
    with pytest.raises(WorkflowFailureError):
        await handle.result()
    # Only what had failed is tried again.
    assert script.calls[-4:] == ["revert-release", "invalidate", "verify", "finish"]
    assert not script.finished[-1].keep_fence
    assert script.finished[-1].status.outcome == "rolled_back"


async def test_programming_error_does_not_roll_back(skipping: WorkflowEnvironment) -> None:
    """A bug leaves the workflow task failing; the fixed worker goes on with the same update."""

    script = Script()
    queue = f"q-{secrets.token_hex(4)}"
    client: Client = skipping.client
    request = UpdateInput(
        namespace="tests", request_id="r", request_digest=DIGEST, requested_by="t", reason="", policy=UpdatePolicy()
    )
    async with Worker(client, task_queue=queue, workflows=[WithBug], activities=script.activities()):
        handle = await client.start_workflow("TaskUpdate", request, id=f"bug/{queue}", task_queue=queue)
        async with asyncio.timeout(30):
            while "check" not in script.calls:
                await asyncio.sleep(0.05)
        assert (await handle.describe()).status == WorkflowExecutionStatus.RUNNING
    assert "finish" not in script.calls
    async with Worker(client, task_queue=queue, workflows=[TaskUpdateWorkflow], activities=script.activities()):
        result = await client.get_workflow_handle_for(TaskUpdateWorkflow.run, handle.id).result()
    assert result.outcome == "completed"


async def test_somebody_else_has_ended_the_update(start) -> None:
    script = Script()
    script.fail("commit", "TakenOver")
    recorded = UpdateStatus(
        request_id="r",
        namespace="tests",
        request_digest=DIGEST,
        requested_by="tester",
        reason="a test",
        phase="ended",
        outcome="completed",
        message="completed by the reconciler",
        started_at=datetime.now(UTC),
    )
    script.play("assess", Assessment(is_sealed=True, recorded=recorded))
    status = await (await start(script)).result()
    assert (status.outcome, status.message) == ("completed", "completed by the reconciler")
    assert script.calls[-2:] == ["commit", "assess"], "nothing is taken back, and nothing recorded"


async def test_somebody_else_acts_for_the_update(start) -> None:
    script = Script()
    script.fail("commit", "TakenOver")
    handle = await start(script)
    with pytest.raises(WorkflowFailureError) as failed:
        await handle.result()
    assert "commit fails" in str(failed.value.cause.__cause__)
    assert script.calls[-2:] == ["commit", "assess"]


async def test_workflow_that_was_taken_over_before_it_looked_at_the_record_replays(
    skipping: WorkflowEnvironment,
) -> None:
    script = Script()
    script.fail("commit", "TakenOver")
    queue = f"q-{secrets.token_hex(4)}"
    request = UpdateInput(
        namespace="tests", request_id="r", request_digest=DIGEST, requested_by="t", reason="", policy=UpdatePolicy()
    )
    async with Worker(
        skipping.client, task_queue=queue, workflows=[FailsWhereTakenOver], activities=script.activities()
    ):
        handle = await skipping.client.start_workflow("TaskUpdate", request, id=f"earlier/{queue}", task_queue=queue)
        with pytest.raises(WorkflowFailureError):
            await handle.result()
    assert "assess" not in script.calls
    replayer = Replayer(workflows=[TaskUpdateWorkflow], data_converter=pydantic_data_converter)
    await replayer.replay_workflow(await handle.fetch_history())


async def test_signals_of_a_wrong_form_change_nothing(start) -> None:
    script = Script()
    handle = await start(script, approval="required", approval_timeout=DAY)
    await handle.signal("approve", {"nonsense": 1})
    await handle.signal("approve")
    await handle.signal("reject")
    await handle.signal("resume")
    await handle.signal("abort", "not an object")
    assert (await handle.result()).outcome == "rejected"
    assert "within" in script.finished[-1].status.message


async def test_abort_without_a_name_stops_all_the_same(start) -> None:
    script = Script()
    handle = await start(script, approval="required")
    # Not earlier: the time-skipping server hangs where an activity is cancelled as it starts; the real one does not.
    await until(handle, asks_about_plan(1))
    await handle.signal("abort")
    with pytest.raises(WorkflowFailureError):
        await handle.result()
    assert script.finished[-1].status.outcome == "rolled_back"
