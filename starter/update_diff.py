"""What an update changes, as a person reads it before he approves: its stored plan, with a diff per module."""

import asyncio
import re

from pydantic import BaseModel, ConfigDict, Field

from taskroll.cluster.errors import NotFound
from taskroll.cluster.plans import read_plan
from taskroll.models.errors import UnknownUpdate, WrongPhase
from taskroll.models.names import REQUEST_ID_PATTERN
from taskroll.models.plan import Plan
from taskroll_agent.contracts import DefinitionContent

from .cluster_connection import ClusterConnection
from .observation import unknown_update
from .planned_change import DIFF_LINES, PlannedChange, planned_changes


class UpdateDiff(BaseModel):
    """The plan of an update, the last one that it made."""

    model_config = ConfigDict(extra="forbid")

    request_id: str
    namespace: str
    plan: int
    """Number of the plan; another one is made where the live state moves before the fence is up."""
    plan_digest: str
    """What an approval binds to."""
    base_epoch: int
    """Release that it starts from; 0 where there was none."""
    changes: list[PlannedChange]
    leaves_out: list[str] = Field(default_factory=list[str])
    """Keys of definitions that were gone before, and that the release no longer has."""
    closure: list[str]
    """Keys of the definitions that change or import what changes."""
    task_classes: list[str]
    """Task classes of the closure."""
    instances: list[str] = Field(default_factory=list[str])
    """Their instances when the plan was made, as ``CLASS NAME``."""
    apps: list[str] = Field(default_factory=list[str])
    """Registered apps that used the closure, or may have, when the plan was made."""
    warnings: list[str] = Field(default_factory=list[str])


async def read_update_diff(
    cluster: ClusterConnection, namespace: str, request_id: str, *, full: bool = False
) -> UpdateDiff:
    """Read the plan that stands in the update's record, and the sources before and after it. Needs no Temporal.

    Args:
        cluster: Of the namespace.
        namespace: Of the definitions.
        request_id: Which update.
        full: Whole diffs, and not the first 2,000 lines of each.

    Raises:
        UnknownUpdate: no update of that id, or what it was about is no longer stored.
        WrongPhase: it has no plan yet, or ended before it had one.
        ServiceUnavailable: the cluster is away.
    """
    if not re.fullmatch(REQUEST_ID_PATTERN, request_id):
        raise unknown_update(namespace, request_id)
    stored = await cluster.record(request_id)
    if stored is None and await cluster.request(request_id) is None:
        raise unknown_update(namespace, request_id)
    if stored is None or stored.record.plan is None:
        how = "ended before it had one" if stored and stored.sealed else "is still to make it"
        raise WrongPhase(f"update {request_id!r} has no plan: it {how}; see: taskroll status {request_id}")
    try:
        plan = await read_plan(await cluster.connection(), namespace, stored.record.plan)
        before, after = await _contents(cluster, plan)
    except NotFound as error:
        raise UnknownUpdate(
            f"what update {request_id!r} changes can no longer be shown: {error.kind}/{error.name} is not stored any "
            "more; `taskroll prune` deletes what no kept release needs"
        ) from error
    # Comparing takes processor time, and whoever serves HTTP answers others meanwhile.
    changes = await asyncio.to_thread(
        planned_changes, plan.changes, before, after, max_lines=None if full else DIFF_LINES
    )
    return UpdateDiff(
        request_id=request_id,
        namespace=namespace,
        plan=plan.number,
        plan_digest=plan.digest(),
        base_epoch=plan.base_epoch,
        changes=changes,
        leaves_out=[str(change.key) for change in plan.changes if change.former is None and change.after is None],
        closure=plan.closure,
        task_classes=plan.task_classes,
        instances=[str(instance) for instance in plan.instances],
        apps=plan.apps,
        warnings=plan.warnings,
    )


async def _contents(
    cluster: ClusterConnection, plan: Plan
) -> tuple[dict[str, DefinitionContent], dict[str, DefinitionContent]]:
    """Of the changed definitions: before and after, by key.

    What was live is taken from the custom resource while that still is what the plan saw: a definition that was made by
    hand is stored as a revision only when the update stages it.
    """
    after = await cluster.contents({str(each.key): each.after.digest for each in plan.changes if each.after})
    former = {str(each.key): each.former.digest for each in plan.changes if each.former}
    live = {key: found.content for key, found in (await cluster.definitions()).items()}
    before = {key: live[key] for key, digest in former.items() if key in live and live[key].digest() == digest}
    before |= await cluster.contents({key: digest for key, digest in former.items() if key not in before})
    return before, after
