"""Watching an update while what it is asked of comes and goes."""

import asyncio
import secrets
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from temporalio import activity, workflow
from temporalio.client import Client
from temporalio.common import RetryPolicy
from temporalio.exceptions import ApplicationError
from temporalio.worker import UnsandboxedWorkflowRunner, Worker

from starter import observation
from starter.client import TaskrollClient
from taskroll.cluster.transport import METADATA_LIST, Call, Reply
from taskroll.models.decision import ResumeInput
from taskroll.models.errors import ServiceUnavailable, UnknownUpdate
from taskroll.models.names import workflow_id
from taskroll.models.status import UpdateStatus

from .place import Place


@activity.defn(name="prepare")
async def slow_step() -> None:
    """Heartbeats as the real steps do, and goes on until it is cancelled; its first attempt fails."""
    activity.heartbeat({"done": 7, "total": 11, "note": "gateway-0"})
    if activity.info().attempt == 1:
        raise ApplicationError("no such replica")
    while True:
        activity.heartbeat({"done": 7, "total": 11, "note": "gateway-0"})
        await asyncio.sleep(0.05)


@workflow.defn(name="TaskUpdate")
class StandIn:
    """A workflow of the saga's type that stands where a test puts it."""

    def __init__(self) -> None:
        self.status_now: UpdateStatus | None = None
        self.resumed = False

    @workflow.run
    async def run(self, outcome: str | None) -> None:
        now = workflow.now()
        _, namespace, request_id = workflow.info().workflow_id.split("/")
        self.status_now = UpdateStatus.model_validate(
            {
                "request_id": request_id,
                "namespace": namespace,
                "request_digest": "sha256:" + "0" * 64,
                "requested_by": "tester",
                "reason": "",
                "started_at": now,
                "outcome": outcome,
                "phase": "needs-operator" if outcome else "applying",
            }
        )
        if outcome is None:
            await workflow.execute_activity(
                slow_step,
                start_to_close_timeout=timedelta(minutes=1),
                heartbeat_timeout=timedelta(seconds=5),
                retry_policy=RetryPolicy(initial_interval=timedelta(milliseconds=10)),
            )
        await workflow.wait_condition(lambda: self.resumed)
        self.status_now = self.status_now.model_copy(update={"phase": "ended", "outcome": "completed"})

    @workflow.signal
    def resume(self, wish: ResumeInput) -> None:
        self.resumed = True

    @workflow.query
    def status(self) -> UpdateStatus:
        assert self.status_now is not None
        return self.status_now


def worker(temporal: Client, client: TaskrollClient) -> Worker:
    return Worker(
        temporal,
        task_queue=client.settings.task_queue,
        workflows=[StandIn],
        activities=[slow_step],
        workflow_runner=UnsandboxedWorkflowRunner(),
        max_heartbeat_throttle_interval=timedelta(milliseconds=50),
        default_heartbeat_throttle_interval=timedelta(milliseconds=50),
    )


async def stand_in(client: TaskrollClient, outcome: str | None) -> tuple[Client, str]:
    """Start one; return Temporal's client and the request id."""
    temporal = await client.temporal.client()
    request_id = f"r-{secrets.token_hex(4)}"
    await temporal.start_workflow(
        "TaskUpdate",
        outcome,
        id=workflow_id(client.settings.namespace, request_id),
        task_queue=client.settings.task_queue,
    )
    return temporal, request_id


async def test_counts_of_the_running_step_are_part_of_the_view(idle_client: TaskrollClient) -> None:
    temporal, request_id = await stand_in(idle_client, None)
    async with worker(temporal, idle_client):
        async for view in idle_client.watch(request_id):
            if view.progress and view.progress[0].done is not None and view.progress[0].attempt > 1:
                break
        [progress] = view.progress
        assert (progress.activity, progress.done, progress.total, progress.note) == ("prepare", 7, 11, "gateway-0")
        assert progress.failure == "no such replica"
        await temporal.get_workflow_handle(view.workflow_id).terminate()


async def test_a_terminated_workflow_is_shown_as_orphaned(idle_client: TaskrollClient) -> None:
    temporal, request_id = await stand_in(idle_client, None)
    async with worker(temporal, idle_client):
        views = []
        async with asyncio.timeout(30):
            async for view in idle_client.watch(request_id):
                views.append(view)
                if len(views) == 1:
                    await temporal.get_workflow_handle(view.workflow_id).terminate("by hand")
        assert (views[-1].execution, views[-1].status.outcome, views[-1].is_orphaned) == ("terminated", None, True)


async def test_a_parked_update_ends_the_watch_and_can_be_resumed(
    idle_place: Place, idle_client: TaskrollClient
) -> None:
    temporal, request_id = await stand_in(idle_client, "needs_operator")
    async with worker(temporal, idle_client):
        view = await idle_client.wait(request_id)
        assert (view.execution, view.status.outcome, view.is_over) == ("running", "needs_operator", True)
        at = ["-n", idle_place.settings.namespace]
        watched = await idle_place.run("watch", request_id, *at)
        assert watched.err.splitlines()[-2:] == [
            f"what stands in the way, and the commands that mend it: taskroll doctor {' '.join(at)}",
            f"when the cause is gone: taskroll resume {request_id} {' '.join(at)}",
        ]
        await idle_client.resume(request_id, ResumeInput(by="tester"))
        await temporal.get_workflow_handle(view.workflow_id).result()
        assert (await idle_client.wait(request_id)).status.outcome == "completed"


async def test_a_watch_outlives_its_worker_and_says_so_once(
    idle_client: TaskrollClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    temporal, request_id = await stand_in(idle_client, "needs_operator")
    monkeypatch.setattr(observation, "UNSEEN_WORKER_TIMEOUT", timedelta(milliseconds=100))
    silences: list[str] = []
    unanswered = 0
    often_unanswered = asyncio.Event()
    no_worker = idle_client.temporal.no_worker

    async def counted(*arguments: Any) -> ServiceUnavailable:
        nonlocal unanswered
        unanswered += 1
        if unanswered == 3:
            often_unanswered.set()
        return await no_worker(*arguments)

    monkeypatch.setattr(idle_client.temporal, "no_worker", counted)

    async def watch() -> Any:
        return [view async for view in idle_client.watch(request_id, on_silence=silences.append)]

    watching = asyncio.create_task(watch())
    await often_unanswered.wait()
    async with worker(temporal, idle_client):
        views = await watching
    assert [view.status.outcome for view in views] == ["needs_operator"]
    assert len(silences) == 1
    assert "no worker polls it" in silences[0]
    await temporal.get_workflow_handle(views[0].workflow_id).terminate()


async def test_patience_ends(idle_client: TaskrollClient) -> None:
    temporal, request_id = await stand_in(idle_client, None)
    with pytest.raises(ServiceUnavailable, match="no worker polls it"):
        async with asyncio.timeout(30):
            await idle_client.wait(request_id, patience=0.1)
    await temporal.get_workflow_handle(workflow_id(idle_client.settings.namespace, request_id)).terminate()


@pytest.mark.parametrize("request_id", ["nobody", "UPPER", "../x", "a/b", "x" * 64, ""])
async def test_an_unknown_update(idle_client: TaskrollClient, request_id: str) -> None:
    with pytest.raises(UnknownUpdate, match="taskroll list"):
        await idle_client.status(request_id)


async def test_pages_of_the_list_hold_each_update_once(client: TaskrollClient) -> None:
    from .test_submission import request

    for number in range(5):
        await client.submit(request(client, f"u{number}"))
        await client.wait(f"u{number}")
    seen: list[str] = []
    cursor = None
    while True:
        page = await client.list_updates(2, cursor)
        seen += [line.request_id for line in page.updates]
        assert len(page.updates) <= 2
        cursor = page.next_cursor
        if cursor is None:
            break
    assert seen == ["u4", "u3", "u2", "u1", "u0"]


async def test_a_page_reads_no_more_records_and_releases_than_it_shows(client: TaskrollClient) -> None:
    from .test_submission import definition, request

    for number in range(4):
        await client.submit(
            request(client, f"u{number}", definitions=[definition(source=f"class Echo:\n    VERSION = {number}\n")])
        )
        await client.wait(f"u{number}")
    cluster = await client.cluster.connection()
    calls: list[Call] = []
    send = cluster.transport.send

    async def recorded(call: Call, timeout: float) -> Reply:
        calls.append(call)
        return await send(call, timeout)

    cluster.transport.send = recorded  # pyright: ignore[reportAttributeAccessIssue]
    await client.list_updates(2)
    assert [(call.verb, call.name, call.accept == METADATA_LIST) for call in calls] == [
        ("list", None, True),
        ("read", "u3", False),
        ("read", "u2", False),
    ]
    calls.clear()
    assert [line.epoch for line in await client.history(2)] == [4, 3]
    assert [call.name for call in calls if call.kind == "ControllerRevision"] == [
        "taskroll-release-000004-u3",
        "taskroll-release-000003-u2",
    ]
    assert [call.name for call in calls if call.kind == "TaskUpdate"] == ["u3", "u2"]


async def test_an_update_without_a_record_is_listed(idle_client: TaskrollClient) -> None:
    from .test_submission import request

    began = datetime.now(UTC)
    await idle_client.submit(request(idle_client, "fresh"))
    # Visibility follows the start by a moment.
    async with asyncio.timeout(30):
        while not (page := await idle_client.list_updates()).updates:
            await asyncio.sleep(0.05)
    [line] = page.updates
    assert (line.request_id, line.phase, line.requested_by, line.changes) == ("fresh", "planning", "tester", None)
    assert line.started_at >= began - timedelta(seconds=1)
