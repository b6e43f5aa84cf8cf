"""Controlled shutdown: unregister the apps that use the closure, one after the other, each written down before."""

import asyncio
from dataclasses import dataclass
from datetime import UTC, datetime

from temporalio import activity

from taskroll.cluster.app_journal import Act, AppJournal, JournalLine
from taskroll.cluster.connection import Cluster
from taskroll.cluster.fence import check_writer
from taskroll.cluster.plans import read_plan
from taskroll.cluster.requests import read_request
from taskroll.models.errors import StillInUse
from taskroll.models.steps import ShutDownInput, ShutDownResult
from taskroll.platforms.cornserve.gateway import Gateway
from taskroll.platforms.cornserve.usage import AppUse, Usage, UsageSearch
from taskroll.services.deadline import Deadline
from taskroll.services.settle import settle_all

from .closure_usage import ClosureUsage, Telling, asking_until
from .step import Progress, running, seconds_left

POLL_INTERVAL = 0.5
"""Seconds between two looks during the grace period."""


@dataclass
class ShutDownApps:
    cluster: Cluster
    usage: ClosureUsage

    @activity.defn(name="shut-down-apps")
    async def run(self, step: ShutDownInput) -> ShutDownResult:
        """Wait for the grace period, then unregister what still uses the closure; what remains is for the check.

        Raises:
            ApplicationError: ``StillInUse``, before any app is stopped, where one could not be registered again.
                ``GatewayUnavailable`` where the gateway does not answer: retried until time is up. ``TakenOver`` where
                the update has ended or a recovery acts for it.
        """
        async with running("shut-down-apps", step) as progress, asking_until(step.budget):
            gateway = self.usage.gateway
            assert gateway is not None, "the plan refuses the policy where no platform is configured"
            await check_writer(self.cluster, step.namespace, step.request_id, step.recovery)
            plan = await read_plan(self.cluster, step.namespace, step.plan)
            request = await read_request(self.cluster, step.namespace, step.request_id)
            search = await self.usage.search(step.namespace, plan.closure, plan.depends_on, request.apps)
            journal = AppJournal(self.cluster, step.namespace, step.request_id)
            shutdown = _Shutdown(step, gateway, journal, search, progress)
            usage = await shutdown.grace()
            while usage.apps:
                shutdown.refuse_what_cannot_come_back(usage)
                await shutdown.stop(_next(usage.apps))
                usage = await search.look()
            await shutdown.settle_interrupted()
            return ShutDownResult(apps=[entry.stopped() for entry in await journal.entries() if entry.is_ours])


@dataclass
class _Shutdown:
    step: ShutDownInput
    gateway: Gateway
    journal: AppJournal
    search: UsageSearch
    progress: Progress

    async def grace(self) -> Usage:
        telling = Telling()
        while True:
            usage = await self.search.look()
            left = seconds_left(self.step.grace)
            if not usage.apps or left <= 0:
                return usage
            self.refuse_what_cannot_come_back(usage)
            names = ", ".join(app.app_id for app in usage.apps[:5])
            self.progress.note = f"in {left:.0f} s unregisters {names}"
            await telling.tell(usage.uses)
            await asyncio.sleep(min(left, POLL_INTERVAL))

    def refuse_what_cannot_come_back(self, usage: Usage) -> None:
        lost = [app.app_id for app in usage.apps if app.source is None]
        if self.step.restore and lost:
            raise StillInUse(
                "apps whose source is not known could not be registered again, so none of them was stopped: give it "
                "with --app ID=PATH, or leave out --restore-apps",
                details=lost,
            )

    async def stop(self, app: AppUse) -> None:
        self.progress.count(0, f"unregisters {app.app_id}")
        entries = {entry.app_id: entry for entry in await self.journal.entries()}
        is_first_attempt = app.app_id not in entries
        if is_first_attempt:
            line = JournalLine(
                app_id=app.app_id, act="stopping", number=len(entries) + 1, at=datetime.now(UTC), source=app.source
            )
            await self.journal.write(line)
        answer = await self._unregister(app.app_id)
        await self._write(app.app_id, "left" if answer == "unknown" and is_first_attempt else "stopped")

    async def settle_interrupted(self) -> None:
        """Say of each app whose unregistering broke off whether it is stopped.

        One that is gone was stopped by the attempt that broke off, or by somebody else in the same moment: nobody can
        tell, and an app that comes back without need is better than one that is missing.
        """
        begun = [entry for entry in await self.journal.entries() if entry.last("stopped", "left") is None]
        listed = await self.gateway.apps(self.step.namespace) if begun else {}
        for entry in begun:
            await self._write(entry.app_id, "left" if entry.app_id in listed else "stopped")

    async def _unregister(self, app_id: str) -> str:
        # A cancel waits for the answer: what is registered again afterwards must not meet a shutdown under way.
        [answer] = await settle_all(
            [self.gateway.unregister(self.step.namespace, app_id)], Deadline.after(seconds_left(self.step.budget))
        )
        return answer

    async def _write(self, app_id: str, act: Act) -> None:
        await self.journal.write(JournalLine(app_id=app_id, act=act, at=datetime.now(UTC)))


def _next(apps: list[AppUse]) -> AppUse:
    """The youngest of those that are known to use the closure, then of the others.

    An app whose source is not known counts only while a task is deployed that it may use: so the others go first.
    """
    return [*(app for app in apps if not app.is_known), *(app for app in apps if app.is_known)][-1]
