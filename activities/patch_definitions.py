"""CR patch: write each definition with a precondition, then the pointers that the platform itself keeps."""

from dataclasses import dataclass

from temporalio import activity

from taskroll.cluster.apply_change import apply_changes
from taskroll.cluster.connection import Cluster
from taskroll.cluster.plans import read_plan
from taskroll.cluster.revisions import read_definition_revisions
from taskroll.cluster.tasklib_version import advance_tasklib_version
from taskroll.models.steps import PatchResult, PlannedStep

from .step import running


@dataclass
class PatchDefinitions:
    cluster: Cluster

    @activity.defn(name="patch")
    async def run(self, step: PlannedStep) -> PatchResult:
        """Create, change and delete the custom resources of the plan.

        What an earlier attempt has written is recognised by its content. Where one write is refused the others stand:
        the compensation restores them.

        Raises:
            ApplicationError: ``ForeignWrite`` where a live definition is neither the former nor the new one,
                ``RefusedByCluster`` with the API server's words.
        """
        async with running("patch", step) as progress:
            plan = await read_plan(self.cluster, step.namespace, step.plan)
            contents = await read_definition_revisions(
                self.cluster,
                step.namespace,
                {str(change.key): change.after.digest for change in plan.changes if change.after is not None},
            )
            outcomes = await apply_changes(
                self.cluster,
                step.namespace,
                plan.written(),
                contents,
                request_id=step.request_id,
                on_settled=lambda change, _: progress.count(len(plan.changes), str(change.key)),
            )
            await advance_tasklib_version(self.cluster, step.namespace, request_id=step.request_id)
            already = outcomes.count("already")
            return PatchResult(written=len(outcomes) - already, already=already)
