"""Register again what a controlled shutdown stopped, after the update or after its rollback."""

import asyncio
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from temporalio import activity

from taskroll.cluster.app_journal import Act, AppEntry, AppJournal, JournalLine
from taskroll.cluster.app_sources import read_app_source
from taskroll.cluster.connection import Cluster
from taskroll.cluster.fence import lower_fence
from taskroll.models.errors import GatewayUnavailable
from taskroll.models.steps import RestoreAppsInput, RestoreAppsResult
from taskroll.platforms.cornserve.gateway import AppRefused, Gateway

from .step import Progress, running, seconds_left

FIRST_PAUSE = 0.5
LONGEST_PAUSE = 10.0
"""Seconds between two rounds over the apps that are not back."""
ATTEMPTS_TO_LOAD = 6
"""For an app whose source does not load: some 15 s, in which a gateway that has just started reads its definitions."""


@dataclass
class RestoreApps:
    cluster: Cluster
    gateway: Gateway | None

    @activity.defn(name="restore-apps")
    async def run(self, step: RestoreAppsInput) -> RestoreAppsResult:
        """Register the stopped apps again, in the order in which they had been registered; say what became of each.

        An app that does not come back is no failure of the step: it is named, with the reason. Lowers the fence first,
        where there is anything to register: it would refuse their instances.
        """
        async with running("restore-apps", step) as progress:
            journal = AppJournal(self.cluster, step.namespace, step.request_id)
            waiting = [entry for entry in reversed(await journal.entries()) if entry.is_ours and not entry.is_over]
            if step.restore and waiting and self.gateway is not None:
                await lower_fence(self.cluster, step.namespace, step.request_id, step.recovery)
                await _Restoring(self.cluster, self.gateway, step, journal, progress).all(waiting)
            return RestoreAppsResult(apps=[entry.stopped() for entry in await journal.entries() if entry.is_ours])


class _NotYet(Exception):
    """The gateway knows the app and still deploys its tasks."""


@dataclass
class _Restoring:
    cluster: Cluster
    gateway: Gateway
    step: RestoreAppsInput
    journal: AppJournal
    progress: Progress

    async def all(self, waiting: list[AppEntry]) -> None:
        total, pause = len(waiting), FIRST_PAUSE
        while True:
            reasons: dict[str, str] = {}
            for entry in waiting:
                self.progress.report(total - len(waiting), total, f"registers {entry.app_id} again")
                reason = await self._one(entry)
                if reason is not None:
                    reasons[entry.app_id] = reason
            waiting = [entry for entry in waiting if entry.app_id in reasons and not entry.is_over]
            if not waiting:
                return
            self.progress.report(
                total - len(waiting), total, "; ".join(f"{entry.app_id}: {reasons[entry.app_id]}" for entry in waiting)
            )
            if seconds_left(self.step.budget) <= pause:
                for entry in waiting:
                    await self._write(entry, "lost", reason=reasons[entry.app_id])
                return
            await asyncio.sleep(pause)
            pause = min(2 * pause, LONGEST_PAUSE)

    async def _one(self, entry: AppEntry) -> str | None:
        """Try once; return why it is not back."""
        try:
            listed = await self.gateway.apps(self.step.namespace)
            if entry.last("stopped") is None and entry.app_id in listed:
                await self._write(entry, "left")
                return None
            new_id = await self._register(entry, listed)
        except _NotYet as pending:
            return str(pending)
        except GatewayUnavailable as error:
            return error.message
        except AppRefused as error:
            await self._write(entry, "refused", number=_attempts(entry))
            if error.is_for_its_source and _attempts(entry) >= ATTEMPTS_TO_LOAD:
                await self._write(entry, "lost", reason=error.message)
            return error.message
        await self._write(entry, "restored", new_id=new_id, source=entry.source)
        return None

    async def _register(self, entry: AppEntry, listed: dict[str, str]) -> str:
        known = await self._of_interrupted_attempt(entry, listed)
        if known is not None:
            if listed[known] != "ready":
                raise _NotYet(f"the gateway deploys the tasks of {known}")
            return known
        assert entry.source is not None, "an app without a known source is not stopped where it shall come back"
        source = await read_app_source(self.cluster, self.step.namespace, entry.source)
        number = _attempts(entry) + 1
        await self._write(entry, "registering", number=number, listed=list(listed))

        async def named(app_id: str) -> None:
            await self._write(entry, "named", number=number, new_id=app_id)

        return await self.gateway.register(self.step.namespace, source, named)

    async def _of_interrupted_attempt(self, entry: AppEntry, listed: dict[str, str]) -> str | None:
        """The app that an attempt registered whose end nobody saw; None where there is none.

        The gateway gives an id to each registration and does not say whose it is. Where the id did not arrive, a
        single app that is new since the attempt began is taken for it: to register it twice would keep its tasks in
        use for good.
        """
        begun = entry.last("registering")
        if begun is None:
            return None
        ends = [line for line in entry.lines if line.number == begun.number]
        if any(line.act == "refused" for line in ends):
            return None
        named = next((line.new_id for line in ends if line.act == "named"), None)
        if named is not None:
            return named if named in listed else None
        taken = {line.new_id for other in await self.journal.entries() for line in other.lines}
        fresh = [app_id for app_id in listed if app_id not in begun.listed and app_id not in taken]
        return fresh[0] if len(fresh) == 1 else None

    async def _write(self, entry: AppEntry, act: Act, **facts: Any) -> None:
        line = JournalLine(app_id=entry.app_id, act=act, at=datetime.now(UTC), **facts)
        await self.journal.write(line)
        entry.lines.append(line)


def _attempts(entry: AppEntry) -> int:
    begun = entry.last("registering")
    return begun.number if begun else 0
