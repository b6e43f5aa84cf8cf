"""Compensation of the commit: a new release, of a higher epoch, with the former digests."""

from dataclasses import dataclass

from temporalio import activity

from taskroll.cluster.commit_release import ReleaseOrder, commit_release, find_commit
from taskroll.cluster.connection import Cluster
from taskroll.cluster.fence import check_writer
from taskroll.cluster.plans import read_plan
from taskroll.cluster.releases import current_release, find_release
from taskroll.cluster.requests import read_request
from taskroll.models.steps import CommitResult, RevertResult, RevertStep

from .step import running


@dataclass
class RevertRelease:
    cluster: Cluster

    @activity.defn(name="revert-release")
    async def run(self, step: RevertStep) -> RevertResult:
        """Take back the update's own changes on top of whatever is current; do nothing where it committed none.

        Whether it did is read from the releases and not from the commit's answer, which may be lost.

        Raises:
            ApplicationError: ``TamperedState`` where the release pointer was edited by hand.
        """
        async with running("revert-release", step):
            await check_writer(self.cluster, step.namespace, step.request_id, step.recovery)
            plan = await read_plan(self.cluster, step.namespace, step.plan)
            request = await read_request(self.cluster, step.namespace, step.request_id)
            forward = await find_commit(self.cluster, step.namespace, step.request_id, request.origin)
            if forward is None and not step.even_if_uncommitted:
                return RevertResult(committed=None)
            # What was released, and not what was live: somebody may have edited a custom resource before the update.
            former = plan.base
            if forward is None:
                current = await current_release(self.cluster, step.namespace)
                former = current.definitions if current else former
            elif forward.previous_epoch:
                former = (await find_release(self.cluster, step.namespace, forward.previous_epoch)).definitions
            committed = await commit_release(
                self.cluster,
                step.namespace,
                ReleaseOrder(
                    request_id=step.request_id,
                    origin="compensation",
                    changes={str(change.key): former.get(str(change.key)) for change in plan.changes},
                    base=plan.base,
                    requested_by=request.requested_by,
                    reason=f"takes back {step.request_id}",
                    git_commit=None,
                    now=activity.info().scheduled_time,
                    recovery=step.recovery,
                ),
            )
            return RevertResult(
                committed=CommitResult(
                    epoch=committed.epoch,
                    release=committed.release,
                    content_digest=committed.content_digest,
                    previous_epoch=committed.previous_epoch,
                )
            )
