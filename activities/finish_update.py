"""Finish: lower the fence and seal the update's record; or, for an operator, write the record and keep the fence."""

from dataclasses import dataclass

from prometheus_client import Counter, Histogram
from temporalio import activity

from taskroll.cluster.commit_release import find_commit
from taskroll.cluster.connection import Cluster
from taskroll.cluster.fence import check_writer, lower_fence, read_fence
from taskroll.cluster.plans import find_last_plan
from taskroll.cluster.records import StoredRecord, read_record, seal_record, update_record
from taskroll.cluster.requests import read_request
from taskroll.cluster.restore_change import is_touched
from taskroll.models.errors import TakenOver, UnknownUpdate
from taskroll.models.record import UpdateRecord
from taskroll.models.recorded_status import status_of_record
from taskroll.models.status import UpdateStatus
from taskroll.models.steps import FinishInput

from .step import running

UPDATES = Counter("taskroll_updates_total", "Updates that ended, or were parked for an operator", ["outcome"])
STEP_SECONDS = Histogram(
    "taskroll_step_seconds",
    "Duration of the saga's steps",
    ["step", "state"],
    buckets=(0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 1800, 7200, 86400),
)


@dataclass
class FinishUpdate:
    cluster: Cluster

    @activity.defn(name="finish")
    async def run(self, finish: FinishInput) -> UpdateStatus | None:
        """Write how it ended. Repeating it changes nothing.

        Returns:
            How it had ended, where the record was sealed before: that counts.

        Raises:
            ApplicationError: ``TakenOver`` where somebody else acts for the update, or it has done what this workflow
                does not know of.
        """
        async with running("finish", finish):
            stored = await self._stored(finish)
            if finish.keep_fence:
                await update_record(self.cluster, await self._record(finish, stored))
            else:
                await check_writer(self.cluster, finish.namespace, finish.request_id, finish.recovery, must_hold=False)
                if stored is not None and stored.sealed:
                    await lower_fence(self.cluster, finish.namespace, finish.request_id, finish.recovery)
                    return status_of_record(stored.record)
                await self._refuse_what_is_out_of_date(finish)
                # In this order: a fence that is up shows that the update has not ended, until the record says how.
                await seal_record(self.cluster, await self._record(finish, stored))
                await lower_fence(self.cluster, finish.namespace, finish.request_id, finish.recovery)
            UPDATES.labels(outcome=finish.status.outcome).inc()
            for step in finish.status.steps:
                if step.seconds is not None:
                    STEP_SECONDS.labels(step=step.name, state=step.state).observe(step.seconds)
            return None

    async def _refuse_what_is_out_of_date(self, finish: FinishInput) -> None:
        """A workflow that Temporal has again from an old back-up takes nothing back of what its update did after that.

        So it must not say that all is as it was; a recovery goes by what is in the cluster.
        """
        namespace, request_id = finish.namespace, finish.request_id
        if finish.recovery or finish.status.outcome not in ("rolled_back", "rejected", "no_change"):
            return
        if (await read_fence(self.cluster, namespace)).holder(request_id) is None:
            return
        begun = {step.name for step in finish.status.steps}
        did: list[str] = []
        if "patch" not in begun:
            plan = await find_last_plan(self.cluster, namespace, request_id)
            if plan is not None and await is_touched(self.cluster, namespace, plan.written(), request_id):
                did.append("written custom resources")
        if "commit" not in begun:
            origin = (await read_request(self.cluster, namespace, request_id)).origin
            forward = await find_commit(self.cluster, namespace, request_id, origin)
            if forward and not await find_commit(self.cluster, namespace, request_id, "compensation"):
                did.append(f"committed release {forward.epoch}")
        if did:
            raise TakenOver(
                f"update {request_id!r} has {' and '.join(did)}, and its workflow does not know of it: was Temporal "
                "restored from an old back-up? The reconciler finishes the update"
            )

    async def _stored(self, finish: FinishInput) -> StoredRecord | None:
        try:
            return await read_record(self.cluster, finish.namespace, finish.request_id)
        except UnknownUpdate:
            return None

    async def _record(self, finish: FinishInput, stored: StoredRecord | None) -> UpdateRecord:
        """What the plan opened, brought up to date; made anew for an update that ended before it had a plan."""
        status = finish.status
        facts = status.model_dump(
            include={
                "phase",
                "outcome",
                "message",
                "epoch_before",
                "epoch",
                "replicas",
                "mixed_version_window_ms",
                "longest_pause_ms",
                "restored_byte_for_byte",
                "ended_at",
            }
        )
        facts |= {"step": None, "plan": finish.plan}
        facts |= {"decisions": status.decisions, "steps": status.steps, "apps": status.apps}
        if stored is not None:
            opened = stored.record
        else:
            request = await read_request(self.cluster, finish.namespace, finish.request_id)
            opened = UpdateRecord(
                request_id=finish.request_id,
                namespace=finish.namespace,
                request_digest=status.request_digest,
                workflow_id=finish.workflow_id,
                requested_by=status.requested_by,
                reason=status.reason,
                git_commit=status.git_commit,
                git_dirty=request.git.dirty if request.git else None,
                origin=request.origin,
                target_release=request.target_release,
                started_at=status.started_at,
            )
        return opened.model_copy(update=facts)
