"""Invalidate: per service, have the replicas leave the classes that they have fetched for those of the release."""

from dataclasses import dataclass

from temporalio import activity

from taskroll.cluster.fence import check_writer
from taskroll.models.steps import InvalidateResult, ReleaseStep

from .services_in_reach import ServicesInReach
from .step import log, running, seconds_left

AT_MOST = 60.0
"""Seconds for replicas that do not answer: it is for verify to wait for them, and to judge. Rollouts come on top."""


@dataclass
class InvalidateServices:
    services: ServicesInReach

    @activity.defn(name="invalidate")
    async def run(self, step: ReleaseStep) -> InvalidateResult:
        """Activate the release on every replica.

        Raises:
            ApplicationError: ``NotAttested`` where a replica refuses it, or the rollout of a service does not end,
                ``TakenOver`` where the update has ended or a recovery acts for it: a service without the agent might go
                back to an earlier release for it.
        """
        async with running("invalidate", step) as progress:
            # The fence of an update that a recovery completes may be down already, for its apps to come back.
            await check_writer(
                self.services.fleet.cluster,
                step.namespace,
                step.request_id,
                step.recovery,
                must_hold=not step.recovery,
            )
            patience = sum(service.patience for service in self.services.fleet.config.services)
            seconds = min(AT_MOST + patience, seconds_left(step.budget))
            outcome = await self.services.invalidate(step, seconds, progress)
            for problem in outcome.problems:
                log.warning("replica not told", replica=f"{problem.service}/{problem.pod}", error=problem.message)
            return InvalidateResult(
                replicas=outcome.activated + outcome.already_active + outcome.ahead,
                already_active=outcome.already_active,
                untold=len(outcome.problems),
            )
