"""Release: the calls that were held go on. Also the compensation of hold."""

from dataclasses import dataclass

from temporalio import activity

from taskroll.models.steps import PlannedStep, ReleaseCallsResult

from .services_in_reach import ServicesInReach
from .step import log, running, seconds_left

AT_MOST = 15.0
"""Seconds for replicas that do not answer: their hold ends by itself."""


@dataclass
class ReleaseCalls:
    services: ServicesInReach

    @activity.defn(name="release-calls")
    async def run(self, step: PlannedStep) -> ReleaseCallsResult:
        """Tell every replica with an agent."""
        async with running("release-calls", step) as progress:
            seconds = min(AT_MOST, seconds_left(step.budget))
            outcome = await self.services.release(step.namespace, step.request_id, seconds, progress)
            if outcome.expired:
                log.warning("calls were let go before the release", replicas=outcome.expired)
            return ReleaseCallsResult(
                replicas=outcome.replicas,
                waited_calls=outcome.waited_calls,
                longest_pause_ms=round(outcome.longest_wait_ms, 1),
                expired=len(outcome.expired),
                unreachable=outcome.problem_count,
            )
