"""Fence: claim the closure for this update, or stand in line behind those that overlap it.

The step ends when the API server *has* refused what the fence forbids, not when the fence was written: so whatever
looks at the instances afterwards looks at all that there can be.
"""

import asyncio
import contextlib
from dataclasses import dataclass
from datetime import UTC, datetime

from temporalio import activity

from taskroll.cluster.connection import Cluster
from taskroll.cluster.fence import FenceAttempt, lower_fence, raise_fence
from taskroll.cluster.fence_enforcement import INSTALL, await_enforcement
from taskroll.cluster.fence_state import FenceEntry
from taskroll.cluster.plans import find_last_plan, read_plan
from taskroll.cluster.records import read_record
from taskroll.cluster.task_instances import list_instances
from taskroll.models.errors import FenceNotEnforced, FenceTimeout, TakenOver, UnknownUpdate
from taskroll.models.plan import Plan
from taskroll.models.steps import FenceInput, FenceResult

from .live_state import is_plan_current
from .step import Progress, running, seconds_left

POLL_INTERVAL = 0.5
"""Seconds between two looks at the line; a ticket goes stale after 60."""
ENFORCED_WITHIN = 15.0
"""Seconds for the API server to enforce what was written: some milliseconds, and a second or two for new policies."""


@dataclass
class RaiseFence:
    cluster: Cluster

    @activity.defn(name="fence")
    async def run(self, fence: FenceInput) -> FenceResult:
        """Take the fence, see it enforced, and look whether the plan still fits what is live behind it.

        Raises:
            ApplicationError: ``FenceTimeout`` where the updates ahead did not end in time, ``FenceNotEnforced`` where
                the API server refuses nothing and the policy requires that it does, ``TakenOver`` where somebody else
                acts for the update or it has ended.
        """
        async with running("fence", fence) as progress:
            await self._see_that_it_goes_on(fence)
            plan = await read_plan(self.cluster, fence.namespace, fence.plan)
            entry = FenceEntry(
                request_id=fence.request_id,
                exclusive=plan.closure,
                shared=plan.depends_on,
                task_classes=plan.task_classes,
            )
            attempt = await self._take(fence, entry, progress)
            if not attempt.held:
                return FenceResult(held=False, ahead=attempt.ahead)
            progress.note = "waits for the API server to enforce it"
            enforced = await await_enforcement(
                self.cluster, fence.namespace, attempt.probe_class, within=ENFORCED_WITHIN
            )
            if fence.require_enforced and not enforced:
                raise FenceNotEnforced(
                    "the API server lets new instances of fenced tasks pass (policy.fence is required). Where the "
                    f"admission policies are not installed: {INSTALL}. Else see what they are bound to; and where they "
                    "had been removed and installed again, the API server needs a restart (kubernetes issue 130887)"
                )
            result = await self._look_behind(fence, plan, attempt)
            return result.model_copy(update={"enforced": enforced})

    async def _see_that_it_goes_on(self, fence: FenceInput) -> None:
        # A workflow that Temporal has again from a back-up may be about an update that ended long ago.
        with contextlib.suppress(UnknownUpdate):
            if (await read_record(self.cluster, fence.namespace, fence.request_id)).sealed:
                raise TakenOver(f"the record of update {fence.request_id!r} says that it has ended")

    async def _take(self, fence: FenceInput, entry: FenceEntry, progress: Progress) -> FenceAttempt:
        """The attempt that holds the fence; or, where this step does not wait, one that says who is ahead."""
        while True:
            attempt = await raise_fence(self.cluster, fence.namespace, entry, datetime.now(UTC))
            if attempt.held or not fence.wait:
                return attempt
            progress.note = "behind " + ", ".join(attempt.ahead)
            if seconds_left(fence.budget) <= 0:
                raise FenceTimeout(
                    f"waited {fence.budget:g} s (policy.fence_timeout) behind overlapping updates",
                    details=attempt.ahead,
                )
            await asyncio.sleep(POLL_INTERVAL)

    async def _look_behind(self, fence: FenceInput, plan: Plan, attempt: FenceAttempt) -> FenceResult:
        # Who held the fence before may have written already: a workflow that Temporal has again from an old back-up.
        if not await is_plan_current(self.cluster, fence.namespace, plan, may_have_written=attempt.was_held):
            # Whoever goes back to the end of the line meets the next drift there: among many, that would never end.
            keep = fence.keep_on_drift or (attempt.was_held and await self._is_further(fence, plan))
            if not keep:
                await lower_fence(self.cluster, fence.namespace, fence.request_id)
            return FenceResult(held=keep, drifted=True)
        instances = await list_instances(self.cluster, fence.namespace, set(plan.task_classes))
        return FenceResult(
            held=True, instances=[f"{instance.class_name} {instance.name}" for instance in instances[:20]]
        )

    async def _is_further(self, fence: FenceInput, plan: Plan) -> bool:
        """Whether the update had a later plan, and may hold the fence for that."""
        last = await find_last_plan(self.cluster, fence.namespace, fence.request_id)
        return last is not None and last.number > plan.number
