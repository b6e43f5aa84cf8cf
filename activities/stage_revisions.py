"""Stage: write the revisions that the update and its compensation need. Inert."""

from dataclasses import dataclass

from temporalio import activity

from taskroll.cluster.connection import Cluster
from taskroll.cluster.definitions import list_definitions
from taskroll.cluster.plans import read_plan
from taskroll.cluster.revisions import missing_revisions, write_definition_revisions
from taskroll.models.errors import ForeignWrite, NotLoadable
from taskroll.models.steps import PlannedStep, StageResult

from .step import running


@dataclass
class StageRevisions:
    cluster: Cluster

    @activity.defn(name="stage")
    async def run(self, step: PlannedStep) -> StageResult:
        """Store every live definition of the plan's base as a revision, and see that those to come are stored.

        All of the base, not the changed ones alone: the release that is committed next names them all, and a cluster
        that ran without taskroll has revisions of none.

        Raises:
            ApplicationError: ``ForeignWrite`` where a live definition is no longer what the plan says, ``NotLoadable``
                where a revision to come is missing.
        """
        async with running("stage", step) as progress:
            plan = await read_plan(self.cluster, step.namespace, step.plan)
            to_come = {str(change.key): change.after.digest for change in plan.changes if change.after is not None}
            lost = await missing_revisions(self.cluster, step.namespace, to_come)
            if lost:
                raise NotLoadable("revisions of the request are missing; send it again", details=lost)
            base = {key: entry.digest for key, entry in plan.base.items()}
            missing = await missing_revisions(self.cluster, step.namespace, base)
            if not missing:
                return StageResult(revisions=0)
            live = await list_definitions(self.cluster, step.namespace)
            changed = [key for key in missing if key not in live or live[key].entry.digest != base[key]]
            if changed:
                raise ForeignWrite("definitions changed since the plan, by somebody else", details=changed)
            written = await write_definition_revisions(
                self.cluster, step.namespace, [live[key].content for key in missing], request_id=step.request_id
            )
            progress.report(written, written, "revisions written")
            return StageResult(revisions=written)
