"""Assess: how far had the update come? Read from the cluster, since the workflow that knew is gone."""

from dataclasses import dataclass

from temporalio import activity

from taskroll.cluster.commit_release import Committed, find_commit
from taskroll.cluster.connection import Cluster
from taskroll.cluster.plans import find_last_plan
from taskroll.cluster.records import read_record
from taskroll.cluster.requests import read_request
from taskroll.cluster.restore_change import is_touched
from taskroll.models.errors import UnknownUpdate
from taskroll.models.names import plan_name
from taskroll.models.recorded_status import status_of_record
from taskroll.models.recovery import Assessment
from taskroll.models.steps import CommitResult, UpdateRef

from .step import running


@dataclass
class AssessUpdate:
    cluster: Cluster

    @activity.defn(name="assess")
    async def run(self, step: UpdateRef) -> Assessment:
        """Look at plan, releases, custom resources and record. Changes nothing.

        Raises:
            ApplicationError: ``TamperedState`` where the release pointer or a record was edited by hand.
        """
        async with running("assess", step):
            namespace, request_id = step.namespace, step.request_id
            request = await read_request(self.cluster, namespace, request_id)
            plan = await find_last_plan(self.cluster, namespace, request_id)
            forward = await find_commit(self.cluster, namespace, request_id, request.origin)
            back = await find_commit(self.cluster, namespace, request_id, "compensation")
            try:
                stored = await read_record(self.cluster, namespace, request_id)
            except UnknownUpdate:
                stored = None
            return Assessment(
                plan=plan.summary(plan_name(request_id, plan.number)) if plan else None,
                committed=_result(forward) if forward else None,
                is_reverted=back is not None,
                is_touched=plan is not None and await is_touched(self.cluster, namespace, plan.written(), request_id),
                is_sealed=stored is not None and stored.sealed,
                recorded=status_of_record(stored.record) if stored else None,
            )


def _result(committed: Committed) -> CommitResult:
    return CommitResult(
        epoch=committed.epoch,
        release=committed.release,
        content_digest=committed.content_digest,
        previous_epoch=committed.previous_epoch,
    )
