"""Commit: write the new release and move the release pointer to it. One write, so it is atomic."""

from dataclasses import dataclass

from temporalio import activity

from taskroll.cluster.commit_release import ReleaseOrder, check_not_taken_back, commit_release, find_commit
from taskroll.cluster.connection import Cluster
from taskroll.cluster.fence import check_writer
from taskroll.cluster.plans import read_plan
from taskroll.cluster.requests import read_request
from taskroll.models.steps import CommitResult, PlannedStep

from .services_in_reach import ServicesInReach
from .step import running, seconds_left


@dataclass
class CommitRelease:
    cluster: Cluster
    services: ServicesInReach

    @activity.defn(name="commit")
    async def run(self, step: PlannedStep) -> CommitResult:
        """Prepare the replicas that started since, then commit. A commit whose answer was lost is recognised.

        Raises:
            ApplicationError: ``NotLoadable`` where a replica that started since cannot load it, ``TamperedState`` where
                the release pointer was edited by hand, ``TakenBack`` where the update was taken back already.
        """
        async with running("commit", step) as progress:
            await check_writer(self.cluster, step.namespace, step.request_id, step.recovery)
            await check_not_taken_back(self.cluster, step.namespace, step.request_id)
            plan = await read_plan(self.cluster, step.namespace, step.plan)
            request = await read_request(self.cluster, step.namespace, step.request_id)
            if await find_commit(self.cluster, step.namespace, step.request_id, request.origin) is None:
                # Once it is committed, replicas have left what they prepared: they would keep a second one for nothing.
                await self.services.prepare(step.namespace, plan, seconds_left(step.budget), progress)
            committed = await commit_release(
                self.cluster,
                step.namespace,
                ReleaseOrder(
                    request_id=step.request_id,
                    origin=request.origin,
                    changes={str(change.key): change.after for change in plan.changes},
                    base=plan.base,
                    requested_by=request.requested_by,
                    reason=request.reason,
                    git_commit=request.git.commit if request.git else None,
                    now=activity.info().scheduled_time,
                ),
            )
            return CommitResult(
                epoch=committed.epoch,
                release=committed.release,
                content_digest=committed.content_digest,
                previous_epoch=committed.previous_epoch,
            )
