"""Deployments: how many replicas they want, how far their rollout is, and restarting them.

A restart is what ``kubectl rollout restart`` does: an annotation on the pod template, so that the controller replaces
every pod. Ours names the update and the epoch, so that it is recognised when it is looked for again.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, cast

from .connection import Cluster
from .objects import KubeObject, apply_object, find_object
from .resources import DEPLOYMENT, field_manager

RESTARTED_FOR = "taskroll.dev/restarted-for"
"""Annotation of a pod template and of its pods: ``<request id>/<epoch>``, the release that they were started for."""


@dataclass(frozen=True)
class Rollout:
    """How far the controller is with the Deployment as it stands now.

    Attributes:
        is_complete: Every pod that is wanted is of the current template and available, and no other is left.
            Pods that are being deleted do not count: they take no new work.
        has_failed: The controller gave up, or nobody lets it work. Waiting will not help.
        note: What is missing, in a few words.
    """

    is_complete: bool
    has_failed: bool
    note: str


@dataclass(frozen=True)
class Deployment:
    """One Deployment as it was read."""

    source: KubeObject

    @property
    def replicas(self) -> int:
        """Pods that are wanted."""
        return int(self.source.spec.get("replicas", 1))

    @property
    def restarted_for(self) -> int:
        """The epoch that it was last restarted for by taskroll; 0 where it never was."""
        metadata = cast("dict[str, Any]", self.source.spec.get("template", {}).get("metadata") or {})
        return epoch_restarted_for(metadata.get("annotations") or {})

    @property
    def rollout(self) -> Rollout:
        """Judged as ``kubectl rollout status`` does."""
        status, name = self.source.status, self.source.name
        if self.source.spec.get("paused"):
            return Rollout(False, True, f"Deployment {name} is paused; kubectl rollout resume deployment/{name}")
        if int(status.get("observedGeneration", 0)) < int(self.source.meta.get("generation", 0)):
            return Rollout(False, False, "the controller has not seen it yet")
        updated, available = int(status.get("updatedReplicas", 0)), int(status.get("availableReplicas", 0))
        note = f"{updated} of {self.replicas} pods are of the current template"
        for condition in cast("list[dict[str, Any]]", status.get("conditions") or []):
            if condition.get("type") == "Progressing" and condition.get("reason") == "ProgressDeadlineExceeded":
                return Rollout(False, True, f"{note}, {available} available: {condition.get('message', '')}")
        if updated < self.replicas:
            return Rollout(False, False, note)
        if int(status.get("replicas", 0)) > updated:
            return Rollout(False, False, f"{int(status['replicas']) - updated} former pods are left")
        if available < updated:
            return Rollout(False, False, f"{available} of {updated} pods are available")
        return Rollout(True, False, "")


def epoch_restarted_for(annotations: dict[str, str]) -> int:
    """The epoch in the annotation of a restart; 0 where there is none, or one that taskroll did not write."""
    epoch = annotations.get(RESTARTED_FOR, "").rpartition("/")[2]
    return int(epoch) if epoch.isdecimal() else 0


async def find_deployment(cluster: Cluster, namespace: str, name: str) -> Deployment | None:
    """Read it; None where there is none of that name."""
    found = await find_object(cluster, DEPLOYMENT, namespace, name)
    return Deployment(found) if found else None


async def restart_deployment(
    cluster: Cluster, namespace: str, deployment: Deployment, *, request_id: str, epoch: int, dry_run: bool = False
) -> None:
    """Have the controller replace every pod, if nobody has written since the Deployment was read.

    With `dry_run` the server says whether it would take it, and nothing changes.

    Raises:
        Conflict: where somebody has written; read it again and decide again.
        RefusedByCluster: where we may not, or an admission policy denies it.
    """
    body: dict[str, Any] = {
        "apiVersion": DEPLOYMENT.api_version,
        "kind": DEPLOYMENT.kind,
        "metadata": {"name": deployment.source.name, "resourceVersion": deployment.source.resource_version},
        "spec": {"template": {"metadata": {"annotations": {RESTARTED_FOR: f"{request_id}/{epoch}"}}}},
    }
    await apply_object(cluster, DEPLOYMENT, namespace, body, manager=field_manager(request_id), dry_run=dry_run)
