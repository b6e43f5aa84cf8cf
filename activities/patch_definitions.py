"""CR patch: after a last look, write each definition with a precondition, then the platform's own pointers."""

from dataclasses import dataclass

from temporalio import activity

from taskroll.cluster.apply_change import apply_changes
from taskroll.cluster.commit_release import check_not_taken_back
from taskroll.cluster.connection import Cluster
from taskroll.cluster.fence import check_writer
from taskroll.cluster.plans import read_plan
from taskroll.cluster.revisions import read_definition_revisions
from taskroll.cluster.task_instances import list_instances
from taskroll.cluster.tasklib_version import advance_tasklib_version
from taskroll.models.errors import StillInUse
from taskroll.models.plan import Plan
from taskroll.models.steps import PatchInput, PatchResult

from .step import running


@dataclass
class PatchDefinitions:
    cluster: Cluster

    @activity.defn(name="patch")
    async def run(self, step: PatchInput) -> PatchResult:
        """Create, change and delete the custom resources of the plan.

        What an earlier attempt has written is recognised by its content. Where one write is refused the others stand:
        the compensation restores them.

        Raises:
            ApplicationError: ``ForeignWrite`` where a live definition is neither the former nor the new one,
                ``RefusedByCluster`` with the API server's words, ``StillInUse`` where an instance came after the check,
                ``TakenOver`` where a recovery acts for the update, ``TakenBack`` where it was taken back already.
        """
        async with running("patch", step) as progress:
            await check_writer(self.cluster, step.namespace, step.request_id, step.recovery)
            await check_not_taken_back(self.cluster, step.namespace, step.request_id)
            plan = await read_plan(self.cluster, step.namespace, step.plan)
            if not step.instances_stay:
                await self._refuse_late_instances(step.namespace, plan)
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

    async def _refuse_late_instances(self, namespace: str, plan: Plan) -> None:
        # One whose create was admitted just before the fence may be stored after the check has looked, where a webhook
        # of somebody else takes its time. And without the admission policies one may come whenever it likes.
        instances = await list_instances(self.cluster, namespace, set(plan.task_classes))
        if instances:
            names = [f"{instance.class_name} {instance.name} (since {instance.created_at})" for instance in instances]
            raise StillInUse("instances came after the check; nothing was patched", details=names)
