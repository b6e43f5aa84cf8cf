"""Compensation of prepare: the replicas drop the generation that nothing serves from."""

from dataclasses import dataclass

from temporalio import activity

from taskroll.models.steps import AbortPrepareResult, PlannedStep

from .services_in_reach import ServicesInReach
from .step import log, running, seconds_left

AT_MOST = 30.0
"""Seconds for one that does not answer: what it keeps costs memory and nothing else."""


@dataclass
class AbortPrepared:
    services: ServicesInReach

    @activity.defn(name="abort-prepare")
    async def run(self, step: PlannedStep) -> AbortPrepareResult:
        """Tell every replica. One that does not answer is no reason to hold the rollback up."""
        async with running("abort-prepare", step) as progress:
            seconds = min(AT_MOST, seconds_left(step.budget))
            outcome = await self.services.abort(step.namespace, step.request_id, seconds, progress)
            for problem in outcome.problems:
                log.warning("prepared generation not dropped", replica=f"{problem.service}/{problem.pod}")
            return AbortPrepareResult(dropped=outcome.dropped, unreachable=outcome.problem_count)
