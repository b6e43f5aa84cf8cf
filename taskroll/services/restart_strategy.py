"""The strategy ``restart``: the service reads the custom resources when it starts, so its Deployment is restarted."""

import time
from typing import ClassVar

from taskroll.cluster.deployments import Deployment, find_deployment, restart_deployment
from taskroll.cluster.errors import Conflict
from taskroll_agent.contracts import (
    AbortAnswer,
    AbortRequest,
    ActivateAnswer,
    ActivateRequest,
    Attestation,
    PrepareAnswer,
    PrepareRequest,
)

from .answers import Answered, Failure, Invalid, Outdated, ReplicaAnswer, RollingOut, Unreachable, Unverified
from .configuration import ServiceConfig
from .deadline import Deadline
from .discovery import discover
from .pod_release import PodReleases
from .reach import Reach
from .replica import Replica
from .strategy import Traits
from .targets import Answers, Targets

_POLL = 0.5
"""Seconds between two looks at a rollout."""
_FIRST_PODS = 3


class RestartStrategy:
    """Restarts the Deployment and waits for its rollout. See `strategy.Strategy` for the methods.

    Nothing that has to be remembered is in memory: the Deployment's annotation says which epoch it was restarted for,
    so another worker goes on with the same rollout.
    """

    traits: ClassVar[Traits] = Traits(
        before_commit="cannot be checked, the service loads nothing beside what it runs",
        after_commit="its pods are ready and were made after the commit, they say nothing themselves",
    )

    def __init__(self, reach: Reach) -> None:
        self._cluster = reach.cluster

    async def prepare(self, targets: Targets, request: PrepareRequest) -> Answers[PrepareAnswer]:
        """See that a rollout could begin and end: none is under way, and the API server would take the restart."""
        service, namespace = targets.service, targets.namespace
        deployment = await find_deployment(self._cluster, namespace, _name(service))
        answer: Failure
        if deployment is None:
            answer = _no_deployment(service, namespace)
        elif not (rollout := deployment.rollout).is_complete:
            answer = RollingOut(f"Deployment {_name(service)} has to be at rest before it is restarted: {rollout.note}")
        else:
            answer = Unverified("the new definitions are read when the pods start; cannot be checked before")
            try:
                await restart_deployment(
                    self._cluster, namespace, deployment, request_id=request.request_id, epoch=0, dry_run=True
                )
            except Conflict as error:
                answer = RollingOut(error.message)
        return targets.all(answer)

    async def invalidate(self, targets: Targets, request: ActivateRequest) -> Answers[ActivateAnswer]:
        """Restart the Deployment, unless that was done or every pod runs the release anyway; wait for the rollout."""
        failure = await self._roll_out(targets.service, targets.namespace, request, targets.deadline)
        done = Answered(
            ActivateAnswer(epoch=request.epoch, content_digest=request.content_digest, already_active=False)
        )
        return targets.all(failure or done)

    async def _roll_out(
        self, service: ServiceConfig, namespace: str, request: ActivateRequest, deadline: Deadline
    ) -> Failure | None:
        until = time.monotonic() + service.patience
        note = "not looked at: no time was left"
        while time.monotonic() < until and not deadline.is_over:
            deployment = await find_deployment(self._cluster, namespace, _name(service))
            if deployment is None:
                return _no_deployment(service, namespace)
            rollout = deployment.rollout
            releases = PodReleases(self._cluster, namespace)
            behind, restarted = await self._behind(service, namespace, releases, request.epoch)
            if not request.epoch <= deployment.restarted_for <= await releases.newest_epoch():
                # Not for this release or a later one; a number above all releases was copied from elsewhere.
                if not behind:
                    return None
                await self._restart(namespace, deployment, request)
                continue
            if rollout.is_complete and not behind:
                return None
            note = "; ".join([rollout.note or "pods of before are left", *restarted, *behind[:_FIRST_PODS]])
            if rollout.has_failed:
                return RollingOut(note)
            await deadline.pause(_POLL)
        return RollingOut(f"not complete within {service.patience:g} s: {note}")

    async def _restart(self, namespace: str, deployment: Deployment, request: ActivateRequest) -> None:
        try:
            await restart_deployment(
                self._cluster, namespace, deployment, request_id=request.request_id, epoch=request.epoch
            )
        except Conflict:
            # The controller writes the status often, and another update may have restarted it meanwhile: look again.
            return

    async def _behind(
        self, service: ServiceConfig, namespace: str, releases: PodReleases, epoch: int
    ) -> tuple[list[str], list[str]]:
        """What is known of each pod that is not ready on this release or a later one; and of those that are, but were
        restarted: one that ends soon after each start is ready for a moment."""
        found: list[str] = []
        restarted: list[str] = []
        for replica in await discover(self._cluster, namespace, service):
            stored = await releases.of(replica)
            if stored is None or stored.release.epoch < epoch:
                found.append(f"{replica.pod} was made before the commit")
            elif not replica.ready:
                found.append(f"{replica.pod} is not ready" + (f" ({replica.waiting})" if replica.waiting else ""))
            elif replica.restarts:
                restarted.append(f"{replica.pod} was restarted ({replica.restarts})")
        return found, restarted[:_FIRST_PODS]

    async def abort(self, targets: Targets, request: AbortRequest) -> Answers[AbortAnswer]:
        """Nothing was prepared, so nothing is dropped."""
        return targets.all(Answered(AbortAnswer(dropped=False)))

    async def attest(self, targets: Targets, *, full: bool = False, once: bool = False) -> Answers[Attestation]:
        """Say of each pod, without asking it, which release it must have read when it started."""
        releases = PodReleases(self._cluster, targets.namespace)
        return [targets.one(each, await _told_from_age(releases, each, full=full)) for each in targets.replicas]


async def _told_from_age(releases: PodReleases, replica: Replica, *, full: bool) -> ReplicaAnswer[Attestation]:
    if not replica.ready or replica.created_at is None:
        waiting = f" ({replica.waiting})" if replica.waiting else ""
        return Unreachable(f"the pod is not ready{waiting}")
    stored = await releases.of(replica)
    if stored is None:
        return Outdated(
            f"the pod was made at {replica.created_at:%Y-%m-%dT%H:%M:%SZ}, before the release was committed"
        )
    return Answered(
        Attestation(
            pod=replica.pod,
            pod_uid=replica.pod_uid,
            process=f"{replica.pod_uid}/{replica.restarts or 0}",
            started_at=replica.created_at,
            epoch=stored.release.epoch,
            release=stored.name,
            content_digest=stored.release.content_digest(),
            definitions=stored.release.digests() if full else None,
        )
    )


def _name(service: ServiceConfig) -> str:
    if service.deployment is None:
        raise ValueError(f"service {service.name}: deployment: is missing")  # the configuration's validator saw to it
    return service.deployment


def _no_deployment(service: ServiceConfig, namespace: str) -> Invalid:
    return Invalid(f"there is no Deployment {service.deployment} in namespace {namespace}; correct deployment")
