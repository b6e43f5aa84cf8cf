"""Controlled shutdown: unregister the apps that use the closure, one after the other, each written down before."""

import asyncio
from dataclasses import dataclass
from datetime import UTC, datetime

from temporalio import activity

from taskroll.cluster.app_journal import AppJournal, JournalLine
from taskroll.cluster.connection import Cluster
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
                ``GatewayUnavailable`` where the gateway does not answer: retried until time is up.
        """
        async with running("shut-down-apps", step) as progress, asking_until(step.budget):
            gateway = self.usage.gateway
            assert gateway is not None, "the plan refuses the policy where no platform is configured"
            plan = await read_plan(self.cluster, step.namespace, step.plan)
            request = await read_request(self.cluster, step.namespace, step.request_id)
            search = await self.usage.search(step.namespace, plan.closure, plan.depends_on, request.apps)
            journal = AppJournal(self.cluster, step.namespace, step.request_id)
            shutdown = _Shutdown(step, gateway, journal, search, progress)
            await shutdown.finish_interrupted()
            usage = await shutdown.grace()
            while usage.apps:
                shutdown.refuse_what_cannot_come_back(usage)
                await shutdown.stop(_next(usage.apps))
                usage = await search.look()
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

    async def finish_interrupted(self) -> None:
        """Settle what an attempt before this one began and did not see the end of."""
        begun = [entry for entry in await self.journal.entries() if entry.last("stopped", "left") is None]
        if not begun:
            return
        listed = await self.gateway.apps(self.step.namespace)
        for entry in begun:
            if entry.app_id in listed:
                await self._unregister(entry.app_id)
            # Where it is not listed, the attempt before did it, or somebody in the same moment: nobody can tell, and
            # an app that is back without need is better than one that is missing.
            await self._write(entry.app_id, "stopped")

    async def stop(self, app: AppUse) -> None:
        self.progress.count(0, f"unregisters {app.app_id}")
        number = len(await self.journal.entries()) + 1
        line = JournalLine(app_id=app.app_id, act="stopping", number=number, at=datetime.now(UTC), source=app.source)
        await self.journal.write(line)
        answer = await self._unregister(app.app_id)
        await self._write(app.app_id, "stopped" if answer == "stopped" else "left")

    async def _unregister(self, app_id: str) -> str:
        # A cancel waits for the answer: what is registered again afterwards must not meet a shutdown under way.
        [answer] = await settle_all(
            [self.gateway.unregister(self.step.namespace, app_id)], Deadline.after(seconds_left(self.step.budget))
        )
        return answer

    async def _write(self, app_id: str, act: str) -> None:
        line = JournalLine.model_validate({"app_id": app_id, "act": act, "at": datetime.now(UTC)})
        await self.journal.write(line)


def _next(apps: list[AppUse]) -> AppUse:
    """The youngest of those that are known to use the closure, then of the others.

    An app whose source is not known counts only while a task is deployed that it may use: so the others go first.
    """
    return [*(app for app in apps if not app.is_known), *(app for app in apps if app.is_known)][-1]
