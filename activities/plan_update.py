"""Plan: what would change, whom it touches, and whether it can be at all. Changes nothing."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass

from temporalio import activity

from taskroll.cluster.apply_change import dry_run_changes
from taskroll.cluster.connection import Cluster
from taskroll.cluster.errors import NotFound
from taskroll.cluster.fence_enforcement import INSTALL, in_words, missing_policies
from taskroll.cluster.plans import read_plan, write_plan
from taskroll.cluster.records import open_record
from taskroll.cluster.releases import current_release, find_release
from taskroll.cluster.requests import read_request
from taskroll.cluster.revisions import read_definition_revisions
from taskroll.cluster.task_instances import list_instances
from taskroll.models.errors import FenceNotEnforced, GatewayUnavailable, InvalidRequest, TakenOver
from taskroll.models.names import plan_name
from taskroll.models.plan import Plan, PlanSummary
from taskroll.models.record import RecordedChange, UpdateRecord
from taskroll.models.request import SubmittedRequest
from taskroll.models.steps import PlanInput
from taskroll.planning import (
    Extent,
    absent_deletions,
    adopted_entries,
    brought_along,
    changed_keys,
    contents_after,
    extent_of,
    foreign_edits,
    make_changes,
    refuse_bad_sources,
    wanted_entries,
)
from taskroll.services.strategy_name import StrategyName
from taskroll_agent.contracts import DefinitionContent, ReleaseEntry

from .closure_usage import ClosureUsage
from .live_state import read_live_state
from .services_in_reach import ServicesInReach
from .step import running


@dataclass
class PlanUpdate:
    cluster: Cluster
    services: ServicesInReach
    usage: ClosureUsage

    @activity.defn(name="plan")
    async def run(self, step: PlanInput) -> PlanSummary:
        """Make the plan, store it, and open the update's record.

        Raises:
            ApplicationError: ``InvalidSource``, ``RefusedByCluster`` (from the server-side dry run), ``UnknownRelease``
                or ``InvalidRequest``: the request is wrong, sending it again will not help. ``FenceNotEnforced`` where
                it asks for more than this cluster does. ``TakenOver`` where the update has ended.
        """
        async with running("plan", step):
            name = plan_name(step.request_id, step.number)
            request = await self._request(step)
            try:
                plan = await read_plan(self.cluster, step.namespace, name)
            except NotFound:
                plan = await write_plan(self.cluster, step.namespace, await self._make(step, request))
            if not await open_record(self.cluster, _record(step, request, plan, name)):
                raise TakenOver(f"the record of update {step.request_id!r} says that it has ended")
            return plan.summary(name)

    async def _request(self, step: PlanInput) -> SubmittedRequest:
        request = await read_request(self.cluster, step.namespace, step.request_id)
        if request.digest() != step.request_digest:
            raise InvalidRequest(
                f"request {step.request_id}: stored with digest {request.digest()}, started with {step.request_digest}"
            )
        return request

    async def _make(self, step: PlanInput, request: SubmittedRequest) -> Plan:
        live = await read_live_state(self.cluster, step.namespace)
        current = await current_release(self.cluster, step.namespace)
        known = current.definitions if current else {}
        if request.adopt:
            wanted = adopted_entries(request, live.entries, known)
        else:
            wanted = wanted_entries(request, known, await self._target(request))
        keys = changed_keys(wanted, live.entries, known, exactly=request.target_release is not None)
        contents = await self._contents(step.namespace, keys, wanted, live.entries, known)
        changes = make_changes(keys, wanted, contents, live, adopt=request.adopt)
        after = contents_after(live.contents, changes, contents)
        extent = await asyncio.to_thread(extent_of, changes, live.contents, after)
        lively = self._lively(request)
        unfenced = await self._unfenced(request) if changes else []
        warnings = (
            unfenced
            + lively
            + await asyncio.to_thread(
                refuse_bad_sources, after, extent, keys, self.services.fleet.config.provided_modules
            )
        )
        apps, unseen = await self._apps(step.namespace, request, extent) if changes else ([], [])
        plan = Plan(
            request_id=step.request_id,
            number=step.number,
            base_epoch=current.epoch if current else 0,
            base=dict(live.entries),
            changes=changes,
            closure=extent.closure,
            depends_on=extent.depends_on,
            task_classes=extent.task_classes,
            services=await self.services.extents(step.namespace),
            instances=await list_instances(self.cluster, step.namespace, set(extent.task_classes)),
            apps=apps,
            warnings=[
                *absent_deletions(request.delete, live.entries, known),
                *([] if request.adopt else foreign_edits(keys, live.entries, known)),
                *(brought_along(keys, live.entries) if changes and current is None else []),
                *warnings,
                *unseen,
            ],
        )
        await dry_run_changes(self.cluster, step.namespace, plan.written(), contents, request_id=step.request_id)
        return plan

    async def _target(self, request: SubmittedRequest) -> dict[str, ReleaseEntry] | None:
        if request.target_release is None:
            return None
        release = await find_release(self.cluster, request.namespace, request.target_release)
        return dict(release.definitions)

    async def _apps(self, namespace: str, request: SubmittedRequest, extent: Extent) -> tuple[list[str], list[str]]:
        """Registered apps that use the closure, and a warning where nobody can tell.

        Raises:
            InvalidRequest: where the policy asks for what cannot be done with the apps.
        """
        policy = request.policy
        if self.usage.gateway is None:
            if policy.drain == "shutdown":
                raise InvalidRequest(
                    "policy.drain: shutdown unregisters apps at the platform's gateway, and the worker's services.yaml "
                    "has no platform section; add it, or use drain wait or refuse"
                )
            return [], []
        search = await self.usage.search(namespace, extent.closure, extent.depends_on, request.apps)
        try:
            found = await search.look()
        except GatewayUnavailable as error:
            return [], [f"{error.message}; what uses the definitions is seen when it answers, before anything changes"]
        lost = [app.app_id for app in found.apps if app.source is None]
        if policy.restore_apps and lost:
            raise InvalidRequest(
                "policy.restore_apps: these apps use the definitions, or may, and could not be registered again, since "
                "their source is not known; give it with --app ID=PATH, or leave out --restore-apps",
                details=lost,
            )
        return [str(use) for use in found.uses if use.kind == "app"], []

    def _lively(self, request: SubmittedRequest) -> list[str]:
        """What `drain: live` means for the plan; refuses it where a service cannot take part."""
        if request.policy.drain != "live":
            return []
        without = [
            f"{service.name} ({service.strategy})"
            for service in self.services.fleet.config.services
            if service.required and service.strategy != StrategyName.AGENT
        ]
        if without:
            raise InvalidRequest(
                f"policy.drain is live, which needs the agent in every required service; without it: "
                f"{', '.join(without)}. Use drain wait, or strategy agent"
            )
        return ["drain live: instances stay and are converted; calls to the closure are held while services flip"]

    async def _unfenced(self, request: SubmittedRequest) -> list[str]:
        """A warning where the API server will not enforce the fence."""
        missing = await missing_policies(self.cluster)
        if not missing:
            return []
        if request.policy.fence == "required":
            raise FenceNotEnforced(
                f"{in_words(missing)}. Nothing would keep new instances and foreign edits out during the update. "
                f"Install them ({INSTALL}), or do without: --fence best-effort"
            )
        return [f"the API server does not enforce the whole fence: {in_words(missing)}; {INSTALL}"]

    async def _contents(
        self,
        namespace: str,
        keys: list[str],
        wanted: Mapping[str, ReleaseEntry | None],
        live: Mapping[str, ReleaseEntry],
        known: Mapping[str, ReleaseEntry],
    ) -> dict[str, DefinitionContent]:
        digests: dict[str, str] = {}
        for key in keys:
            entry = wanted[key] or (known.get(key) if key not in live else None)
            if entry is not None:
                digests[key] = entry.digest
        return await read_definition_revisions(self.cluster, namespace, digests)


def _record(step: PlanInput, request: SubmittedRequest, plan: Plan, name: str) -> UpdateRecord:
    return UpdateRecord(
        request_id=step.request_id,
        namespace=step.namespace,
        request_digest=step.request_digest,
        workflow_id=step.workflow_id,
        requested_by=request.requested_by,
        reason=request.reason,
        git_commit=request.git.commit if request.git else None,
        git_dirty=request.git.dirty if request.git else None,
        origin=request.origin,
        target_release=request.target_release,
        # No step runs while people decide, so there is nobody else to say it.
        phase="awaiting-approval" if plan.changes and request.policy.approval != "none" else "planning",
        plan=name,
        changes=recorded_changes(plan),
        epoch_before=plan.base_epoch,
        started_at=step.started_at,
    )


def recorded_changes(plan: Plan) -> list[RecordedChange]:
    """The changes of a plan as the record keeps them."""
    return [
        RecordedChange(
            definition=str(change.key),
            action=change.action,
            before=change.former.digest if change.former else None,
            after=change.after.digest if change.after else None,
        )
        for change in plan.changes
    ]
