"""Find the updates whose workflow is gone before they had ended, and what replicas still keep for such."""

from collections.abc import Iterable
from dataclasses import dataclass, field

from prometheus_client import Gauge
from temporalio import activity
from temporalio.client import Client

from taskroll.cluster.bounded import run_bounded
from taskroll.cluster.connection import Cluster
from taskroll.cluster.fence import read_fence
from taskroll.cluster.fence_state import FenceState
from taskroll.cluster.records import find_records, list_open_records, read_record
from taskroll.cluster.requests import read_request
from taskroll.models.errors import TamperedState, TaskrollError, UnknownUpdate
from taskroll.models.names import recovery_workflow_id, workflow_id
from taskroll.models.record import UpdateRecord
from taskroll.models.recovery import DeadUpdates, ReconcileInput, RecoveryInput
from taskroll.models.steps import UpdateRef

from .dead_workflow import Fate, fate_of, list_workflows, reason_of_termination
from .services_in_reach import ServicesInReach
from .step import Progress, log, running
from .superseded_workflow import tell_superseded

AT_ONCE = 20
"""Updates that one round hands over; the next one takes the rest."""
SWEEP_SECONDS = 10.0
"""For asking the replicas what they have prepared, and again for telling them to drop it."""

CUT_OFF = "TaskrollNamespace = '{}' AND WorkflowType = 'TaskUpdate' AND ExecutionStatus IN ('Terminated', 'TimedOut')"

PARKED = Gauge("taskroll_updates_parked", "Updates that wait for an operator, their fence up", ["namespace"])


@dataclass
class FindDeadUpdates:
    temporal: Client
    cluster: Cluster
    services: ServicesInReach
    _sealed: set[tuple[str, str]] = field(default_factory=set[tuple[str, str]])
    """Namespace and request id of terminated updates that were found to have ended."""

    @activity.defn(name="find-dead-updates")
    async def run(self, step: ReconcileInput) -> DeadUpdates:
        """Compare what the cluster says is under way with the workflows that run.

        Under way is what holds the fence or waits in its line, has a record that is not closed, or was terminated
        before it got as far as a record. What has ended is not looked at, however much there is of it.
        """
        ref = UpdateRef(namespace=step.namespace, request_id=step.only or "", workflow_id="")
        async with running("reconcile", ref) as progress:
            fence = await self._fence(step.namespace)
            opened = {record.request_id: record for record in await list_open_records(self.cluster, step.namespace)}
            suspects = [step.only] if step.only else await self._under_way(step.namespace, fence, opened)
            fates = dict(zip(suspects, await run_bounded(suspects, self._fate_in(step.namespace)), strict=True))
            gone = [request_id for request_id, fate in fates.items() if not fate.is_running]
            dead: list[RecoveryInput] = []
            for request_id in gone:
                found = await self._dead(step, request_id, fates[request_id])
                if found is not None and len(dead) < AT_ONCE:
                    dead.append(found)
            parked = [
                request_id
                for request_id in suspects
                if request_id in opened and opened[request_id].outcome == "needs_operator"
            ]
            dropped, superseded = 0, list[str]()
            if not step.only:
                superseded = await tell_superseded(self.temporal, self.cluster, step.namespace, fence, opened, fates)
                self._alarm(step.namespace, parked, opened)
                # A recovery drops what was prepared by itself, and not before it has looked.
                left = {each.request_id for each in dead}
                dropped = await self._sweep(step.namespace, fates, left, progress)
            return DeadUpdates(
                dead=dead,
                parked=parked,
                live=len(suspects) - len(gone),
                dropped=dropped,
                superseded=superseded,
            )

    async def _under_way(self, namespace: str, fence: FenceState, opened: Iterable[str]) -> list[str]:
        fenced = [each.entry.request_id for each in (*fence.holders, *fence.line)]
        return list(dict.fromkeys([*fenced, *opened, *await self._cut_off(namespace, {*fenced, *opened})]))

    async def _cut_off(self, namespace: str, known: set[str]) -> list[str]:
        """Updates whose workflow was terminated before there was a record of them."""
        ended = await list_workflows(self.temporal, CUT_OFF.format(namespace))
        suspects = [each for each in dict.fromkeys(request_id for _, request_id in ended) if each not in known]
        # What is sealed stays so: each is looked up once.
        unseen = [request_id for request_id in suspects if (namespace, request_id) not in self._sealed]
        found = await find_records(self.cluster, namespace, unseen)
        self._sealed |= {(namespace, stored.record.request_id) for stored in found if stored.sealed}
        return [request_id for request_id in unseen if (namespace, request_id) not in self._sealed]

    async def _fence(self, namespace: str) -> FenceState:
        try:
            return await read_fence(self.cluster, namespace)
        except TamperedState as error:
            # Whoever recovers an update meets it again, and parks.
            log.error("the fence cannot be read", error=error.message)
            return FenceState()

    def _fate_in(self, namespace: str):
        async def ask(request_id: str) -> Fate:
            return await fate_of(self.temporal.get_workflow_handle(workflow_id(namespace, request_id)))

        return ask

    async def _dead(self, step: ReconcileInput, request_id: str, fate: Fate) -> RecoveryInput | None:
        """The input of its recovery; None where there is nothing to recover.

        Record and fence are read again: the workflow may have ended well since they were looked at.
        """
        try:
            request = await read_request(self.cluster, step.namespace, request_id)
        except UnknownUpdate as error:
            log.error("an update is under way of which no request is stored", error=error.message)
            return None
        try:
            stored = await read_record(self.cluster, step.namespace, request_id)
        except UnknownUpdate:
            stored = None
        fence = await self._fence(step.namespace)
        is_fenced = bool(fence.holder(request_id) or fence.ticket(request_id))
        if not is_fenced and (stored.sealed if stored else not fate.has_history):
            # It has ended; or it was submitted and never started, and whoever did that may send it again.
            return None
        why = await reason_of_termination(self.temporal, workflow_id(step.namespace, request_id))
        return RecoveryInput(
            namespace=step.namespace,
            request_id=request_id,
            request_digest=request.digest(),
            requested_by=request.requested_by,
            reason=request.reason,
            git_commit=request.git.commit if request.git else None,
            policy=request.policy,
            cause=f"{fate.in_words}{why}",
            release=step.release,
        )

    def _alarm(self, namespace: str, parked: Iterable[str], records: dict[str, UpdateRecord]) -> None:
        names = list(parked)
        PARKED.labels(namespace=namespace).set(len(names))
        for name in names:
            log.error("update needs an operator", request_id=name, message=records[name].message)

    async def _sweep(self, namespace: str, fates: dict[str, Fate], left: set[str], progress: Progress) -> int:
        """Have replicas drop what they prepared for updates that nothing acts for; who is out of reach can wait."""
        dropped = 0
        try:
            for request_id in await self.services.prepared_for(namespace, SWEEP_SECONDS) - left:
                known = fates.get(request_id) or await self._fate_in(namespace)(request_id)
                recovery = self.temporal.get_workflow_handle(recovery_workflow_id(namespace, request_id))
                if not known.is_running and not (await fate_of(recovery)).is_running:
                    outcome = await self.services.abort(namespace, request_id, SWEEP_SECONDS, progress)
                    dropped += outcome.dropped
        except TaskrollError as error:
            log.warning("replicas could not be asked what they have prepared", error=error.message)
        return dropped
