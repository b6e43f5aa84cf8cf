"""Fence: claim the closure for this update, or stand in line behind those that overlap it."""

import asyncio
from dataclasses import dataclass
from datetime import UTC, datetime

from temporalio import activity

from taskroll.cluster.connection import Cluster
from taskroll.cluster.fence import lower_fence, raise_fence
from taskroll.cluster.fence_state import FenceEntry
from taskroll.cluster.plans import read_plan
from taskroll.cluster.task_instances import list_instances
from taskroll.models.errors import FenceTimeout
from taskroll.models.plan import Plan
from taskroll.models.steps import FenceInput, FenceResult

from .live_state import is_plan_current
from .step import Progress, running, seconds_left

POLL_INTERVAL = 0.5
"""Seconds between two looks at the line; a ticket goes stale after 60."""


@dataclass
class RaiseFence:
    cluster: Cluster

    @activity.defn(name="fence")
    async def run(self, fence: FenceInput) -> FenceResult:
        """Take the fence, and look whether the plan still fits what is live behind it.

        Raises:
            ApplicationError: ``FenceTimeout`` where the updates ahead did not end in time.
        """
        async with running("fence", fence) as progress:
            plan = await read_plan(self.cluster, fence.namespace, fence.plan)
            entry = FenceEntry(
                request_id=fence.request_id,
                exclusive=plan.closure,
                shared=plan.depends_on,
                task_classes=plan.task_classes,
            )
            ahead = await self._take(fence, entry, progress)
            if ahead:
                return FenceResult(held=False, ahead=ahead)
            return await self._look_behind(fence, plan)

    async def _take(self, fence: FenceInput, entry: FenceEntry, progress: Progress) -> list[str]:
        """Those ahead where the fence is not held and this attempt does not wait; empty once it is held."""
        while True:
            attempt = await raise_fence(self.cluster, fence.namespace, entry, datetime.now(UTC))
            if attempt.held:
                return []
            if not fence.wait:
                return attempt.ahead
            progress.note = "behind " + ", ".join(attempt.ahead)
            if seconds_left(fence.budget) <= 0:
                raise FenceTimeout(
                    f"waited {fence.budget:g} s (policy.fence_timeout) behind overlapping updates",
                    details=attempt.ahead,
                )
            await asyncio.sleep(POLL_INTERVAL)

    async def _look_behind(self, fence: FenceInput, plan: Plan) -> FenceResult:
        if not await is_plan_current(self.cluster, fence.namespace, plan):
            # Whoever goes back to the end of the line meets the next drift there: among many, that would never end.
            if not fence.keep_on_drift:
                await lower_fence(self.cluster, fence.namespace, fence.request_id)
            return FenceResult(held=fence.keep_on_drift, drifted=True)
        instances = await list_instances(self.cluster, fence.namespace, set(plan.task_classes))
        return FenceResult(
            held=True, instances=[f"{instance.class_name} {instance.name}" for instance in instances[:20]]
        )
