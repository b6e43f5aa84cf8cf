"""Prepare: every replica loads the new generation beside the one it serves. Nothing serves from it yet."""

from dataclasses import dataclass

from temporalio import activity

from taskroll.cluster.connection import Cluster
from taskroll.cluster.fence import check_writer
from taskroll.cluster.plans import read_plan
from taskroll.models.steps import PlannedStep, PrepareResult

from .services_in_reach import ServicesInReach
from .step import running, seconds_left


@dataclass
class PrepareServices:
    cluster: Cluster
    services: ServicesInReach

    @activity.defn(name="prepare")
    async def run(self, step: PlannedStep) -> PrepareResult:
        """Have every replica load the plan's definitions.

        Raises:
            ApplicationError: ``NotLoadable`` where one cannot, ``ReplicaUnreachable`` where one does not answer.
        """
        async with running("prepare", step) as progress:
            await check_writer(self.cluster, step.namespace, step.request_id, step.recovery)
            plan = await read_plan(self.cluster, step.namespace, step.plan)
            outcome = await self.services.prepare(step.namespace, plan, seconds_left(step.budget), progress)
            return PrepareResult(replicas=outcome.replicas, unchecked=outcome.unchecked)
