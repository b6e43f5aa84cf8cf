"""Situations around a back-up of Temporal: what happens up to it, what after it, and what has to stand at the end."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

from taskroll.cluster.records import read_record
from taskroll.cluster.releases import list_releases
from taskroll.models.apps import AppSource
from taskroll.models.decision import AbortInput, DecisionInput, ResumeInput
from taskroll.models.errors import UnknownUpdate
from taskroll.models.policy import UpdatePolicy
from tests.saga.faults import Hold, Moment
from tests.saga.reconciling import reconcile, recovered
from tests.saga.sources import library
from tests.saga.stand_in_gateway import StandInGateway
from tests.saga.test_approval import ASKING
from tests.saga.test_drain import ENCODER, RESTORE
from tests.saga.world import QUICK, World

FIRST, SECOND = "first", "second"


def patient(policy: UpdatePolicy) -> UpdatePolicy:
    """The policy with deadlines that nobody misses on a busy machine."""
    steps = ["fence_timeout", "prepare_timeout", "verify_timeout", "rollback_timeout", "approval_timeout"]
    longer = dict.fromkeys(steps, 300.0)
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
