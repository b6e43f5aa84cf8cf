"""The running services, as the steps of the saga speak to them: an outcome that is not good enough becomes an error."""

from collections.abc import Iterable
from dataclasses import dataclass, field

from taskroll.models.errors import CallsInFlight, NotAttested, NotLoadable, ReplicaUnreachable
from taskroll.models.plan import Plan, ServiceExtent
from taskroll.models.steps import HoldInput, ReleaseStep
from taskroll.models.wording import counted
from taskroll.services.abort import AbortOutcome, abort_prepared
from taskroll.services.attest import attest_all
from taskroll.services.deadline import Deadline
from taskroll.services.expectation import Expectation
from taskroll.services.fleet import Fleet
from taskroll.services.hold import HoldOutcome, ReleaseOutcome, hold_calls, release_calls
from taskroll.services.invalidate import InvalidateOutcome, invalidate
from taskroll.services.prepare import PrepareOutcome, prepare
from taskroll.services.prepared_replicas import PreparedReplicas
from taskroll.services.replica import ReplicaProblem
from taskroll.services.replicas import list_replicas
from taskroll.services.verify import VerifyOutcome, verify
from taskroll_agent.contracts import AbortRequest, ActivateRequest, HoldRequest, PrepareRequest, ReleaseRequest

from .step import Progress


@dataclass
class ServicesInReach:
    fleet: Fleet
    prepared: PreparedReplicas = field(default_factory=PreparedReplicas)

    async def extents(self, namespace: str) -> list[ServiceExtent]:
        """Name, strategy and number of replicas of each service, and what the strategy can show."""
        listed = await list_replicas(self.fleet.cluster, namespace, self.fleet.config)
        return [
            ServiceExtent(
                name=service.name,
                strategy=service.strategy,
                replicas=len(listed[service.name]),
                proof=traits.in_words(),
                reads_definitions=traits.reads_definitions,
                patience=service.patience,
            )
            for service in self.fleet.config.services
            for traits in [self.fleet.strategy(service).traits]
        ]

    async def prepare(self, namespace: str, plan: Plan, seconds: float, progress: Progress) -> PrepareOutcome:
        """Have every replica load what the plan leads to.

        Raises:
            NotLoadable: where replicas answered that they cannot, with what and why; or ended by it.
            ReplicaUnreachable: where replicas did not answer in time, or services have too few of them.
        """
        target = plan.target()
        if plan.base_epoch == 0:
            # No release to build upon yet: replicas have to hear of the definitions that stay as well.
            target = {**{key: entry.digest for key, entry in plan.base.items()}, **target}
        outcome = await prepare(
            self.fleet,
            namespace,
            PrepareRequest(request_id=plan.request_id, definitions=target),
            Deadline.after(seconds),
            progress.report,
            prepared=self.prepared,
        )
        if outcome.problem_count:
            raise NotLoadable(
                f"{counted(outcome.problem_count, 'definition')} cannot be loaded; nothing was changed "
                "(the errors' own texts are in the replicas' logs)",
                details=_lines(outcome.problems),
            )
        ended = [problem for problem in outcome.unprepared if problem.reason == "process_ended"]
        if ended:
            raise NotLoadable(
                f"{counted(len(ended), 'replica')} ended while loading the new classes; nothing was changed. See the "
                "replica's log for what ended it, and mend the module",
                details=_lines(ended),
            )
        if not outcome.is_prepared:
            raise ReplicaUnreachable(
                f"{counted(outcome.unprepared_count, 'replica')} did not prepare",
                details=[*outcome.missing, *_lines(outcome.unprepared)],
            )
        return outcome

    async def hold(self, step: HoldInput, plan: Plan, seconds: float, progress: Progress) -> HoldOutcome:
        """Have every replica with an agent hold the calls to the closure.

        Raises:
            CallsInFlight: where calls did not end in time, naming them.
            ReplicaUnreachable: where replicas did not answer in time, or services have too few of them.
        """
        outcome = await hold_calls(
            self.fleet,
            step.namespace,
            HoldRequest(
                request_id=step.request_id,
                classes=plan.task_classes,
                seconds=step.seconds,
                expires=step.expires,
                cancel=step.cancel,
            ),
            Deadline.after(seconds),
            progress.report,
        )
        if outcome.in_flight:
            raise CallsInFlight(
                f"calls did not end within {step.seconds:g} s; give them longer (--live-timeout, policy.live_timeout), "
                "or have them cancelled (--cancel-calls, policy.cancel_calls)",
                details=outcome.in_flight,
            )
        if outcome.unheld:
            raise ReplicaUnreachable("calls are not held everywhere", details=outcome.unheld)
        return outcome

    async def release(self, namespace: str, request_id: str, seconds: float, progress: Progress) -> ReleaseOutcome:
        """Have every replica that answers let the held calls go on."""
        return await release_calls(
            self.fleet, namespace, ReleaseRequest(request_id=request_id), Deadline.after(seconds), progress.report
        )

    async def invalidate(self, step: ReleaseStep, seconds: float, progress: Progress) -> InvalidateOutcome:
        """Tell every replica to make the release current. Whether they did is for `verify` to find out.

        Raises:
            NotAttested: where a replica refuses the release on the way forward, or a rollout does not end: waiting for
                it would be in vain.
        """
        outcome = await invalidate(
            self.fleet,
            step.namespace,
            ActivateRequest(
                request_id=step.request_id,
                epoch=step.epoch,
                release=step.release,
                content_digest=step.content_digest,
            ),
            Deadline.after(seconds),
            progress.report,
            keep_going=step.former,
        )
        refused = [problem for problem in outcome.problems if problem.reason == "refused"]
        if refused and not step.former:
            raise NotAttested(
                f"release {step.epoch} is refused by {counted(len(refused), 'replica')}", details=_lines(refused)
            )
        rollouts = {problem.service: problem.message for problem in outcome.problems if problem.reason == "rollout"}
        if rollouts:
            raise NotAttested(
                f"release {step.epoch} is not rolled out",
                details=[f"{service}: {message}" for service, message in rollouts.items()],
            )
        return outcome

    async def verify(
        self, step: ReleaseStep, definitions: dict[str, str | None], seconds: float, progress: Progress
    ) -> VerifyOutcome:
        """Wait until every replica attests the release.

        Args:
            definitions: digests of the definitions that the update is about, None where they shall be absent: what is
                looked at on replicas that run a later release already.

        Raises:
            NotAttested: where one did not in time, with what it runs instead, or why it does not answer.
        """
        outcome = await verify(
            self.fleet,
            step.namespace,
            Expectation(
                epoch=step.epoch,
                content_digest=step.content_digest,
                definitions=definitions,
            ),
            Deadline.after(seconds),
            progress.report,
        )
        if not outcome.is_attested:
            raise NotAttested(
                f"release {step.epoch} is not attested by {counted(outcome.mismatch_count, 'replica')}",
                details=[*outcome.missing, *_lines(outcome.mismatches)],
            )
        return outcome

    async def abort(self, namespace: str, request_id: str, seconds: float, progress: Progress) -> AbortOutcome:
        """Have every replica that answers drop what it prepared."""
        return await abort_prepared(
            self.fleet, namespace, AbortRequest(request_id=request_id), Deadline.after(seconds), progress.report
        )

    async def prepared_for(self, namespace: str, seconds: float) -> set[str]:
        """Request ids of the updates for which a replica that answers has something prepared."""
        said = await attest_all(self.fleet, namespace, Deadline.after(seconds))
        return {
            request_id
            for _, answer in said.replicas
            if not isinstance(answer, ReplicaProblem)
            for request_id in answer.prepared
        }


def _lines(findings: Iterable[object]) -> list[str]:
    return [str(finding) for finding in findings]
