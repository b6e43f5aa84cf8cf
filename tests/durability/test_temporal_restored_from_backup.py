"""Temporal is restored from an older back-up: what the cluster says counts, not what a workflow remembers.

A is the moment of the back-up, B the moment at which Temporal is stopped and the back-up put back. One stack and one
restore for all situations, each in a namespace of its own.
"""

from __future__ import annotations

import asyncio
import shutil
import sqlite3
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable
from contextlib import AsyncExitStack, closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from temporalio.client import WorkflowFailureError
from temporalio.exceptions import ApplicationError
from temporalio.service import RPCError, RPCStatusCode

from taskroll.cluster.bounded import run_bounded
from taskroll.cluster.connection import Cluster
from taskroll.cluster.definitions import list_definitions
from taskroll.cluster.fence import read_fence
from taskroll.cluster.kubeconfig import ClusterSettings
from taskroll.cluster.manifests import install
from taskroll.cluster.records import read_record, verify_records
from taskroll.cluster.releases import current_release, list_releases
from taskroll.devstack import DevStack
from taskroll.models.apps import AppSource
from taskroll.models.decision import AbortInput, DecisionInput, ResumeInput
from taskroll.models.errors import UnknownUpdate
from taskroll.models.names import recovery_workflow_id
from taskroll.models.policy import UpdatePolicy
from taskroll.models.status import UpdateStatus
from tests.saga.faults import Hold, Moment
from tests.saga.reconciling import reconcile, recovered
from tests.saga.replicas import TOKEN
from tests.saga.sources import library
from tests.saga.stand_in_gateway import StandInGateway, stand_in_gateway
from tests.saga.test_approval import ASKING
from tests.saga.test_drain import ENCODER, RESTORE
from tests.saga.world import QUICK, TOKEN_VARIABLE, World, create_world, services_config

pytestmark = pytest.mark.slow

FIRST, SECOND = "first", "second"


def patient(policy: UpdatePolicy) -> UpdatePolicy:
    """The policy with deadlines that nobody misses on a busy machine."""
    longer = dict.fromkeys(["prepare_timeout", "verify_timeout", "rollback_timeout", "approval_timeout"], 300.0)
    return policy.model_copy(update=longer)


LIVE = QUICK.model_copy(update={"drain": "live"})


@dataclass
class Carried:
    """A world on its way from A to B."""

    world: World
    gateway: StandInGateway | None = None
    hold: Hold = field(default_factory=Hold)
    app: str = ""
    at_b: dict[str, Any] = field(default_factory=dict)

    async def hold_at(self, step: str, moment: Moment = "before") -> None:
        self.hold = self.world.faults.hold(step, moment)

    async def submit(
        self, request_id: str = FIRST, version: int = 2, policy: UpdatePolicy = QUICK, **more: Any
    ) -> None:
        await self.world.submit(library(version), request_id=request_id, policy=patient(policy), **more)

    async def ends(self, outcome: str, request_id: str = FIRST) -> None:
        status = (await self.world.ended(request_id)).status
        assert status.outcome == outcome, status.message

    async def looks(self, request_id: str) -> dict[str, Any]:
        """All that a workflow could move: custom resources, replicas, releases, record."""
        world = self.world
        try:
            stored = await read_record(world.cluster, world.namespace, request_id)
        except UnknownUpdate:
            stored = None
        return {
            "definitions": await world.definitions(),
            "replicas": world.replicas.contents(),
            "releases": [release.model_dump() for release in await list_releases(world.cluster, world.namespace)],
            "record": stored,
            "apps": list(self.gateway.apps) if self.gateway else [],
        }


Act = Callable[[Carried], Awaitable[None]]


def held(step: str, moment: Moment = "before", **more: Any) -> Act:
    """A: the step of an update stands still."""

    async def act(carried: Carried) -> None:
        await carried.hold_at(step, moment)
        await carried.submit(**more)
        await carried.hold.reached.wait()

    return act


def then_ends(outcome: str, *, later: bool = False) -> Act:
    """B: the update has ended, and perhaps another one after it."""

    async def act(carried: Carried) -> None:
        if outcome == "rolled_back":
            carried.world.faults.fail("verify")
        carried.hold.release()
        await carried.ends(outcome)
        if later:
            await carried.submit(SECOND, 3)
            await carried.ends("completed", SECOND)

    return act


def then_held(step: str, moment: Moment = "after") -> Act:
    """B: the same update stands still at a later step."""

    async def act(carried: Carried) -> None:
        before = carried.hold
        await carried.hold_at(step, moment)
        before.release()
        await carried.hold.reached.wait()

    return act


async def nothing(carried: Carried) -> None:
    """A: there is no update. After the restore: nobody does anything."""


async def submitted_and_completed(carried: Carried) -> None:
    await carried.submit()
    await carried.ends("completed")


async def asks(carried: Carried) -> None:
    """A: the update waits for an approval."""
    await carried.submit(policy=ASKING)
    await carried.world.in_phase(FIRST, "awaiting-approval")


def decided(decision: str, outcome: str, *, later: bool = False) -> Act:
    async def act(carried: Carried) -> None:
        await carried.world.client.decide(FIRST, DecisionInput.model_validate({"decision": decision, "by": "anna"}))
        await then_ends(outcome, later=later)(carried)

    return act


async def approved_and_held_at_patch(carried: Carried) -> None:
    await carried.hold_at("patch", "after")
    await carried.world.client.decide(FIRST, DecisionInput(decision="approved", by="anna"))
    await carried.hold.reached.wait()


async def amid_rollback(carried: Carried) -> None:
    carried.world.faults.fail("verify")
    await then_held("restore-definitions", "before")(carried)


async def is_being_taken_back(carried: Carried) -> None:
    """A: amid the compensations."""
    carried.world.faults.fail("verify")
    await held("restore-definitions")(carried)


async def rollback_ends(carried: Carried) -> None:
    carried.hold.release()
    await carried.ends("rolled_back")


async def is_being_recovered(carried: Carried) -> None:
    """A: a recovery takes the update back."""
    await held("patch", "after")(carried)
    await carried.world.handle(FIRST).terminate()
    await carried.hold_at("restore-definitions")
    await reconcile(carried.world)
    await carried.hold.reached.wait()


async def recovery_ends(carried: Carried) -> None:
    carried.hold.release()
    await recovered(carried.world, FIRST)


async def approved_again(carried: Carried) -> None:
    await carried.world.client.decide(FIRST, DecisionInput(decision="approved", by="anna"))


async def rejected_now(carried: Carried) -> None:
    await carried.world.client.decide(FIRST, DecisionInput(decision="rejected", by="anna"))


async def aborted_now(carried: Carried) -> None:
    await carried.world.client.abort(FIRST, AbortInput(by="anna"))


async def is_parked(carried: Carried) -> None:
    """A: the update waits for an operator."""
    carried.world.faults.fail("verify")
    carried.world.faults.fail("restore-definitions", code="ForeignWrite")
    await carried.submit()
    await carried.ends("needs_operator")


async def resumed(carried: Carried) -> None:
    await carried.world.client.resume(FIRST, ResumeInput(by="operator"))
    async with asyncio.timeout(30):
        while not (await read_record(carried.world.cluster, carried.world.namespace, FIRST)).sealed:
            await asyncio.sleep(0.05)
    await carried.ends("rolled_back")


async def stands_in_line(carried: Carried) -> None:
    """A: the update waits behind another one."""
    await carried.hold_at("patch")
    await carried.submit(SECOND, 3)
    await carried.hold.reached.wait()
    await carried.submit()
    await carried.world.waiting(FIRST, SECOND)


async def both_end(carried: Carried) -> None:
    carried.hold.release()
    await carried.ends("completed", SECOND)
    await carried.ends("completed")


async def another_is_held(carried: Carried) -> None:
    carried.hold.release()
    await carried.ends("completed")
    await carried.hold_at("patch", "after")
    await carried.submit(SECOND, 3)
    await carried.hold.reached.wait()


async def shuts_an_app_down(carried: Carried) -> None:
    """A: right before the app is unregistered that comes back as another one in the end."""
    assert carried.gateway is not None
    app = await carried.gateway.register(ENCODER)
    await held("shut-down-apps", policy=RESTORE, apps=[AppSource(id=app, source=ENCODER)])(carried)


@dataclass(frozen=True)
class End:
    """What has to stand when nothing moves any more.

    Attributes:
        outcome: Of the first update.
        version: That all run.
        releases: How many there are: no epoch was made for nothing.
    """

    outcome: str
    version: int
    releases: int


COMPLETED = End("completed", 2, 2)
BEFORE_ANOTHER = End("completed", 3, 3)
TAKEN_BACK = End("rolled_back", 1, 3)
NEVER_COMMITTED = End("rolled_back", 1, 1)
REJECTED = End("rejected", 1, 1)


@dataclass(frozen=True)
class Situation:
    """What happened, and what has to stand at the end.

    Attributes:
        name: What is at A; what is at B.
        a: Up to the back-up.
        b: From there on, until Temporal is stopped.
        end: However it ends.
        is_over: Whether it had ended at B: then nothing at all may change.
        by_itself: Whether the workflow finds out without the reconciler.
        then: What people do after the restore.
    """

    name: str
    a: Act
    b: Act
    end: End
    is_over: bool = True
    by_itself: bool = True
    then: Act = nothing


STEPS = ["plan", "fence", "check", "patch", "commit", "verify", "finish"]

SITUATIONS = [
    *(Situation(f"before {step}; completed", held(step), then_ends("completed"), COMPLETED) for step in STEPS),
    Situation("after patch; completed", held("patch", "after"), then_ends("completed"), COMPLETED),
    *(
        Situation(f"before {step}; taken back", held(step), then_ends("rolled_back"), TAKEN_BACK)
        for step in ("fence", "patch", "commit")
    ),
    Situation("amid the rollback; taken back", is_being_taken_back, rollback_ends, TAKEN_BACK),
    *(
        Situation(
            f"before {step}; completed, another after it",
            held(step),
            then_ends("completed", later=True),
            BEFORE_ANOTHER,
        )
        for step in ("commit", "invalidate")
    ),
    Situation("in line; both completed", stands_in_line, both_end, End("completed", 2, 3)),
    Situation("parked; resumed", is_parked, resumed, TAKEN_BACK, by_itself=False),
    Situation("amid a recovery; taken back by it", is_being_recovered, recovery_ends, NEVER_COMMITTED),
    Situation(
        "before calls are held; completed",
        held("hold-calls", policy=LIVE),
        then_ends("completed"),
        COMPLETED,
    ),
    Situation("before an app is stopped; completed", shuts_an_app_down, then_ends("completed"), COMPLETED),
    # An approval is waited for: no step tells the workflow.
    Situation("asks; completed", asks, decided("approved", "completed"), COMPLETED, by_itself=False),
    Situation("asks; rejected", asks, decided("rejected", "rejected"), REJECTED, by_itself=False),
    Situation(
        "asks; completed, another after it",
        asks,
        decided("approved", "completed", later=True),
        BEFORE_ANOTHER,
        by_itself=False,
    ),
    Situation(
        "asks; amid the patch", asks, approved_and_held_at_patch, NEVER_COMMITTED, is_over=False, by_itself=False
    ),
    *(
        Situation(
            f"asks; amid the patch; {then.__name__}",
            asks,
            approved_and_held_at_patch,
            end,
            is_over=False,
            by_itself=end is COMPLETED,
            then=then,
        )
        for then, end in [
            (approved_again, COMPLETED),
            (rejected_now, NEVER_COMMITTED),
            (aborted_now, NEVER_COMMITTED),
        ]
    ),
    # Temporal never heard of it.
    Situation("nothing; completed", nothing, submitted_and_completed, COMPLETED),
    Situation(
        "nothing; amid the patch", nothing, held("patch", "after"), NEVER_COMMITTED, is_over=False, by_itself=False
    ),
    Situation("nothing; committed", nothing, held("commit", "after"), COMPLETED, is_over=False, by_itself=False),
    # Under way at A and at B: it goes on from A, and finds what it has done already.
    Situation("before fence; amid the patch", held("fence"), then_held("patch"), COMPLETED, is_over=False),
    Situation("before fence; committed", held("fence"), then_held("commit"), COMPLETED, is_over=False),
    *(
        Situation(f"before {step}; amid the rollback", held(step), amid_rollback, TAKEN_BACK, is_over=False)
        for step in ("patch", "commit")
    ),
    Situation("before check; another amid the patch", held("check"), another_is_held, COMPLETED, is_over=False),
]


def _back_up(database: Path, to: Path) -> None:
    with closing(sqlite3.connect(database)) as source, closing(sqlite3.connect(to)) as target:
        source.backup(target)


def _put_back(copy: Path, database: Path) -> None:
    for left in database.parent.glob(f"{database.name}*"):
        left.unlink()
    shutil.copy(copy, database)


@pytest.fixture(scope="module")
async def restored(tmp_path_factory: pytest.TempPathFactory) -> AsyncGenerator[dict[str, Carried]]:
    """All situations at B, with Temporal's data of A, and workers that have just started."""
    folder = tmp_path_factory.mktemp("restored")
    own = DevStack(folder / "stack")
    database, copy = folder / "stack" / "temporal" / "temporal.db", folder / "copy.db"
    with pytest.MonkeyPatch.context() as patch, own as stack:
        patch.setenv(TOKEN_VARIABLE, TOKEN)
        async with await Cluster.connect(ClusterSettings(kubeconfig=str(stack.kubeconfig), context="admin")) as cluster:
            await install(cluster, "default")
        async with AsyncExitStack() as exits:
            carried: dict[str, Carried] = {}
            for situation in SITUATIONS:
                world = await exits.enter_async_context(create_world(stack, TOKEN_VARIABLE))
                carried[situation.name] = Carried(world)
                if situation.a is shuts_an_app_down:
                    gateway = await exits.enter_async_context(stand_in_gateway(world.namespace, world.api))
                    await world.with_services(services_config(TOKEN_VARIABLE, gateway_url=gateway.url))
                    carried[situation.name].gateway = gateway
            await _each(_first_release(each) for each in carried.values())
            await _each(situation.a(carried[situation.name]) for situation in SITUATIONS)
            await asyncio.to_thread(_back_up, database, copy)
            await _each(situation.b(carried[situation.name]) for situation in SITUATIONS)
            for each in carried.values():
                assert each.world.worker is not None
                await each.world.worker.shutdown()
                each.at_b = await each.looks(FIRST)
            await asyncio.to_thread(own.stop_component, "temporal", kill=True)
            await asyncio.to_thread(_put_back, copy, database)
            await asyncio.to_thread(own.start_component, "temporal")
            await _each(each.world.start_worker() for each in carried.values())
            yield carried


async def _each(works: Iterable[Awaitable[Any]]) -> None:
    """A few at a time: with all at once replicas would miss deadlines."""
    async with asyncio.timeout(200):
        await run_bounded(list(works), _awaited, limit=6)


async def _awaited(work: Awaitable[Any]) -> Any:
    return await work


async def _first_release(carried: Carried) -> None:
    world = carried.world
    await world.start_worker()
    await world.replicas.start("gateway")
    await world.replicas.start("dispatcher")
    assert (await world.update(library(1), request_id="before", policy=patient(QUICK))).status.outcome == "completed"


@pytest.mark.parametrize("situation", SITUATIONS, ids=lambda situation: situation.name)
async def test_what_the_cluster_says_counts(restored: dict[str, Carried], situation: Situation) -> None:
    carried, end = restored[situation.name], situation.end
    world, namespace = carried.world, carried.world.namespace
    async with asyncio.timeout(60):
        await situation.then(carried)
        ended = await outcome_of_workflow(world) if situation.by_itself else None
        while not await all_quiet(world):
            await reconcile(world)
        ended = ended or await outcome_of_workflow(world)
    stored = await read_record(world.cluster, namespace, FIRST)
    assert stored.sealed
    assert stored.record.outcome == end.outcome, stored.record.message
    assert ended in (end.outcome, None)
    if situation.is_over:
        assert await carried.looks(FIRST) == carried.at_b
    await assert_all_run(world, end.version)
    assert len(await list_releases(world.cluster, namespace)) == end.releases
    assert await verify_records(world.cluster, namespace) == []
    assert (await world.client.status(FIRST)).status.outcome == end.outcome
    if carried.gateway is not None:
        for app in list(carried.gateway.apps):
            await carried.gateway.unregister(app)
    again = await world.update(library(9), policy=patient(QUICK))
    assert again.status.outcome == "completed", again.status.message
    await assert_all_run(world, 9)


async def assert_all_run(world: World, version: int) -> None:
    """Replicas, release and custom resources agree on it."""
    assert world.replicas.versions("EncoderTask") == world.replicas.versions("SketchTask") == {version}
    release = await current_release(world.cluster, world.namespace)
    live = await list_definitions(world.cluster, world.namespace)
    assert release is not None
    assert {key: found.entry.digest for key, found in live.items()} == release.digests()
    assert world.replicas.contents() == {release.content_digest()}


async def all_quiet(world: World) -> bool:
    """Whether no update is under way, by what the cluster says and by what runs."""
    fence = await read_fence(world.cluster, world.namespace)
    if fence.holders or fence.line:
        return False
    async for _ in world.temporal.list_workflows(
        f"TaskrollNamespace = '{world.namespace}' AND ExecutionStatus = 'Running'"
    ):
        return False
    return not any(replica.agent.attest(None, full=False).prepared for replica in world.replicas.running)


async def outcome_of_workflow(world: World) -> str | None:
    """How the workflow ended that Temporal has for the update, its recovery where there is one; None without any."""
    for workflow_id in (recovery_workflow_id(world.namespace, FIRST), world.handle(FIRST).id):
        handle = world.temporal.get_workflow_handle(workflow_id, result_type=UpdateStatus)
        try:
            return (await handle.result()).outcome
        except WorkflowFailureError as error:
            if not isinstance(error.cause, ApplicationError):
                return f"failed: {error.cause!r} {error.cause.__cause__ if error.cause else ''}"
            return "rolled_back" if error.cause.type == "RolledBack" else error.cause.message
        except RPCError as error:
            if error.status != RPCStatusCode.NOT_FOUND:
                raise
    return None
