"""Nothing slips in: four clients create instances all the time while an update raises the fence, checks and goes on.

`TASKROLL_TEST_FENCE_SECONDS=30` holds the fence for longer than the suite has time for.
"""

from __future__ import annotations

import asyncio
import json
import os
import time
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from taskroll.cluster.connection import Cluster
from taskroll.cluster.errors import Forbidden
from taskroll.cluster.kubeconfig import ClusterSettings
from taskroll.cluster.objects import create_object
from taskroll.cluster.resources import UNIT_TASK_INSTANCE
from taskroll.cluster.transport import Call, Reply, Transport
from taskroll.devstack import StackInfo

from .sources import library
from .world import PATIENT, World

HELD_FOR = float(os.environ.get("TASKROLL_TEST_FENCE_SECONDS", "8"))
CLIENTS = 4
RATE = 200
"""Attempts a second, of all clients together; every other one is of a fenced class."""

FENCED, OTHER = "EncoderTask", "WriterTask"


@dataclass
class Attempt:
    """One create, by the clock of this machine, which is the API server's too."""

    class_name: str
    began: float
    ended: float
    created: bool
    said: str = ""


@dataclass
class Clients:
    """Create instances and delete them at once, as applications that come and go do."""

    stack: StackInfo
    namespace: str
    attempts: list[Attempt] = field(default_factory=list)
    stopped: bool = False

    async def run(self) -> None:
        await asyncio.gather(*(self._run(number) for number in range(CLIENTS)))

    async def _run(self, number: int) -> None:
        settings = ClusterSettings(kubeconfig=str(self.stack.kubeconfig), context="admin")
        interval = CLIENTS / RATE
        async with await Cluster.connect(settings) as cluster, asyncio.TaskGroup() as group:
            due = time.monotonic() + interval * number / CLIENTS
            turn = 0
            while not self.stopped:
                await asyncio.sleep(max(0.0, due - time.monotonic()))
                due += interval
                turn += 1
                class_name = (FENCED, OTHER)[turn % 2]
                group.create_task(self._attempt(cluster, class_name, f"{class_name.lower()}-{number}-{turn}"))

    async def _attempt(self, cluster: Cluster, class_name: str, name: str) -> None:
        body = {"metadata": {"name": name}, "spec": {"definitionRef": class_name, "config": {}}}
        began = time.time()
        try:
            await create_object(cluster, UNIT_TASK_INSTANCE, self.namespace, body, manager="client")
        except Forbidden as error:
            self.attempts.append(Attempt(class_name, began, time.time(), created=False, said=error.message))
            return
        self.attempts.append(Attempt(class_name, began, time.time(), created=True))
        path = UNIT_TASK_INSTANCE.path(self.namespace, name)
        await cluster.send(Call("delete", path, "UnitTaskInstance", name))


class Looks:
    """A transport that notes when the worker began to list instances."""

    def __init__(self, inner: Transport) -> None:
        self.inner = inner
        self.at: list[float] = []

    async def send(self, call: Call, seconds: float) -> Reply:
        if call.verb == "list" and call.kind == "UnitTaskInstance":
            self.at.append(time.time())
        return await self.inner.send(call, seconds)

    async def close(self) -> None:
        await self.inner.close()


@dataclass(frozen=True)
class Event:
    """A line of the API server's audit log."""

    user: str
    verb: str
    name: str
    code: int
    received: float
    answered: float
    dry_run: bool


def audited(stack: StackInfo, namespace: str, resource: str) -> list[Event]:
    """Writes to objects of this resource, in the order in which they were answered."""

    def moment(text: str) -> float:
        return datetime.fromisoformat(text).timestamp()

    events: list[Event] = []
    for line in stack.audit_log.read_text().splitlines():
        if namespace not in line:
            continue
        item: dict[str, Any] = json.loads(line)
        target = item.get("objectRef") or {}
        if (target.get("resource"), target.get("namespace")) == (resource, namespace):
            events.append(
                Event(
                    item["user"]["username"],
                    item["verb"],
                    str(target.get("name", "")),
                    int(item["responseStatus"]["code"]),
                    moment(item["requestReceivedTimestamp"]),
                    moment(item["stageTimestamp"]),
                    "dryRun" in item["requestURI"],
                )
            )
    return sorted(events, key=lambda event: event.answered)


async def test_no_instance_of_a_fenced_class_is_created_once_the_check_took_its_final_look(world: World) -> None:
    assert (await world.update(library(1), policy=PATIENT)).status.outcome == "completed"
    looks = Looks(world.cluster.transport)
    world.cluster.transport = looks
    clients = Clients(world.stack, world.namespace)
    running = asyncio.create_task(clients.run())
    await asyncio.sleep(1)

    passed = world.faults.hold("check", "after")
    request_id = await world.submit(library(2), policy=PATIENT)
    await passed.reached.wait()
    final_look, check_passed = looks.at[-1], time.time()
    await asyncio.sleep(HELD_FOR)
    released = time.time()
    passed.release()
    view = await world.ended(request_id)
    assert view.status.outcome == "completed", view.status.message
    await asyncio.sleep(1)
    clients.stopped = True
    await running

    fenced = [attempt for attempt in clients.attempts if attempt.class_name == FENCED]
    others = [attempt for attempt in clients.attempts if attempt.class_name == OTHER]
    meanwhile = [attempt for attempt in fenced if final_look <= attempt.ended and attempt.began <= released]
    assert [attempt for attempt in meanwhile if attempt.created] == []
    assert all(f"is under update {request_id}" in attempt.said for attempt in fenced if not attempt.created)
    assert all(attempt.created for attempt in others)
    assert any(attempt.created for attempt in fenced if attempt.ended < final_look), "apps came before"
    assert any(attempt.created for attempt in fenced if attempt.began > released), "apps come again"
    span = max(attempt.ended for attempt in clients.attempts) - min(attempt.began for attempt in clients.attempts)
    rate = len(clients.attempts) / span
    print(f"{len(clients.attempts)} attempts, {rate:.0f}/s; {len(meanwhile)} of the fenced class refused meanwhile")
    assert rate > RATE / 2, "the machine is too slow for this test to mean much"

    _the_window_is_empty(world, final_look, check_passed, released)


def _the_window_is_empty(world: World, final_look: float, check_passed: float, released: float) -> None:
    """By the API server's own order of events: written, refused to the probe, then looked at; nothing in between."""
    instances = audited(world.stack, world.namespace, "unittaskinstances")
    fence = audited(world.stack, world.namespace, "configmaps")
    raised = max(event.answered for event in fence if event.name == "taskroll-fence" and event.answered < final_look)
    probes = [event for event in instances if event.user == "taskroll" and raised < event.answered < final_look]
    assert len(probes) >= 4
    assert all(event.dry_run and event.verb == "create" for event in probes)
    last_round = probes[-4:]
    assert {event.code for event in last_round} == {403}
    enforced = last_round[0].answered
    assert raised < enforced < final_look < check_passed
    created = [
        event
        for event in instances
        if event.user == "admin" and event.verb == "create" and event.name.startswith("encodertask")
    ]
    assert created
    accepted = [event for event in created if event.code == 201]
    assert accepted
    late = [
        event for event in accepted if enforced < event.received < released or final_look < event.answered < released
    ]
    assert late == []
    last = max(event.answered for event in accepted if event.received < enforced)
    print(
        f"fence written, {(enforced - raised) * 1000:.1f} ms later refused to {len(probes)} probes; the last create "
        f"that was accepted was answered {(final_look - last) * 1000:.1f} ms before the final look"
    )


def _is_fenced(event: Event) -> bool:
    return event.name.startswith(FENCED.lower())
