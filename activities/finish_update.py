"""Finish: lower the fence and seal the update's record; or, for an operator, write the record and keep the fence."""

from dataclasses import dataclass

from prometheus_client import Counter, Histogram
from temporalio import activity

from taskroll.cluster.connection import Cluster
from taskroll.cluster.fence import check_writer, lower_fence
from taskroll.cluster.records import read_record, seal_record, update_record
from taskroll.cluster.requests import read_request
from taskroll.models.errors import UnknownUpdate
from taskroll.models.record import UpdateRecord
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
    async def run(self, finish: FinishInput) -> None:
        """Write how it ended. Repeating it changes nothing."""
        async with running("finish", finish):
            record = await self._record(finish)
            if finish.keep_fence:
                await update_record(self.cluster, record)
            else:
                await check_writer(self.cluster, finish.namespace, finish.request_id, finish.recovery, must_hold=False)
                # In this order: a fence that is up shows that the update has not ended, until the record says how.
                await seal_record(self.cluster, record)
                await lower_fence(self.cluster, finish.namespace, finish.request_id, finish.recovery)
            UPDATES.labels(outcome=finish.status.outcome).inc()
            for step in finish.status.steps:
                if step.seconds is not None:
                    STEP_SECONDS.labels(step=step.name, state=step.state).observe(step.seconds)

    async def _record(self, finish: FinishInput) -> UpdateRecord:
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
        try:
            opened = (await read_record(self.cluster, finish.namespace, finish.request_id)).record
        except UnknownUpdate:
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
