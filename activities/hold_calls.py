"""Hold: where calls enter, new ones to the closure wait, and those in flight end, before anything flips."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from temporalio import activity

from taskroll.cluster.connection import Cluster
from taskroll.cluster.fence import check_writer
from taskroll.cluster.plans import read_plan
from taskroll.models.steps import HoldInput, HoldResult

from .services_in_reach import ServicesInReach
from .step import running, seconds_left


@dataclass
class HoldCalls:
    cluster: Cluster
    services: ServicesInReach

    @activity.defn(name="hold-calls")
    async def run(self, step: HoldInput) -> HoldResult:
        """Have every replica with an agent hold.

        Raises:
            ApplicationError: ``CallsInFlight`` where calls do not end in time, ``ReplicaUnreachable`` where one does
                not answer, ``TakenOver`` where the update has ended or a recovery acts for it.
        """
        async with running("hold-calls", step) as progress:
            await check_writer(self.cluster, step.namespace, step.request_id, step.recovery)
            plan = await read_plan(self.cluster, step.namespace, step.plan)
            # From before the first request: no hold ends earlier than this.
            until = datetime.now(UTC) + timedelta(seconds=step.expires)
            outcome = await self.services.hold(step, plan, seconds_left(step.budget), progress)
            return HoldResult(replicas=outcome.replicas, cancelled=outcome.cancelled, until=until)
