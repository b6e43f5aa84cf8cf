"""Verify: every replica attests the release, those that joined late too. An acknowledgement proves nothing."""

from dataclasses import dataclass

from temporalio import activity

from taskroll.cluster.connection import Cluster
from taskroll.cluster.fence import check_writer
from taskroll.cluster.plans import read_plan
from taskroll.cluster.releases import read_release
from taskroll.models.steps import ReleaseStep, VerifyResult

from .services_in_reach import ServicesInReach
from .step import running, seconds_left


@dataclass
class VerifyServices:
    cluster: Cluster
    services: ServicesInReach

    @activity.defn(name="verify")
    async def run(self, step: ReleaseStep) -> VerifyResult:
        """Ask every replica which classes are live in it, until all answers are right or the budget is used up.

        Raises:
            ApplicationError: ``NotAttested``, naming the replicas and what they run instead. ``TakenOver`` where the
                update has ended or a recovery acts for it.
        """
        async with running("verify", step) as progress:
            await check_writer(
                self.cluster, step.namespace, step.request_id, step.recovery, must_hold=not step.recovery
            )
            plan = await read_plan(self.cluster, step.namespace, step.plan)
            released = (await read_release(self.cluster, step.namespace, step.release)).digests()
            expected = {str(change.key): released.get(str(change.key)) for change in plan.changes}
            outcome = await self.services.verify(step, expected, seconds_left(step.budget), progress)
            window = outcome.mixed_version_window_ms
            return VerifyResult(
                replicas=outcome.replicas,
                mixed_version_window_ms=round(window, 1) if window is not None else None,
                unverified=outcome.unverified,
            )
