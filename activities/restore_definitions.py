"""Compensation of the CR patch: bring back the exact former custom resources."""

from dataclasses import dataclass

from temporalio import activity

from taskroll.cluster.connection import Cluster
from taskroll.cluster.fence import check_writer
from taskroll.cluster.plans import read_plan
from taskroll.cluster.restore_change import not_as_before, restore_changes
from taskroll.cluster.revisions import read_definition_revisions
from taskroll.cluster.tasklib_version import advance_tasklib_version
from taskroll.models.steps import PlannedStep, RestoreResult

from .step import running


@dataclass
class RestoreDefinitions:
    cluster: Cluster

    @activity.defn(name="restore-definitions")
    async def run(self, step: PlannedStep) -> RestoreResult:
        """Restore what holds our own write, recreate what was deleted, delete what was created; then compare all.

        Raises:
            ApplicationError: ``ForeignWrite`` where somebody else wrote meanwhile: their write is left as it is.
        """
        async with running("restore-definitions", step) as progress:
            await check_writer(self.cluster, step.namespace, step.request_id, step.recovery)
            plan = await read_plan(self.cluster, step.namespace, step.plan)
            # What is adopted was never written: who edits it meanwhile is in nobody's way.
            ours = [change for change in plan.changes if change.action != "adopt"]
            former = await read_definition_revisions(
                self.cluster,
                step.namespace,
                {str(change.key): change.former.digest for change in ours if change.former is not None},
            )
            outcomes = await restore_changes(
                self.cluster,
                step.namespace,
                [change for change in plan.written() if change.action != "adopt"],
                former,
                request_id=step.request_id,
                recovery=step.recovery,
                on_settled=lambda change, _: progress.count(len(plan.changes), str(change.key)),
            )
            restored = len(outcomes) - outcomes.count("already")
            if restored:
                # Its resourceVersions grow with each write, so the platform's pointer has to follow, not to go back.
                await advance_tasklib_version(self.cluster, step.namespace, request_id=step.request_id)
            different = await not_as_before(self.cluster, step.namespace, ours)
            return RestoreResult(restored=restored, byte_for_byte=not different)
