"""Unregistration check: nothing uses the closure, seen behind the fence."""

import asyncio
from dataclasses import dataclass

from temporalio import activity

from taskroll.cluster.connection import Cluster
from taskroll.cluster.fence import check_writer
from taskroll.cluster.plans import read_plan
from taskroll.cluster.requests import read_request
from taskroll.models.errors import StillInUse
from taskroll.models.steps import CheckInput, CheckResult
from taskroll.models.wording import counted

from .closure_usage import ClosureUsage, Telling, asking_until
from .step import running, seconds_left

POLL_INTERVAL = 0.5
"""Seconds between two looks."""


@dataclass
class CheckUnregistered:
    cluster: Cluster
    usage: ClosureUsage

    @activity.defn(name="check")
    async def run(self, check: CheckInput) -> CheckResult:
        """Wait until no app, task, instance or task manager pod of the closure is left, or refuse at once.

        Raises:
            ApplicationError: ``StillInUse``, naming them, where the policy is to refuse or time is up.
                ``GatewayUnavailable`` where the gateway does not answer: retried until time is up. ``TakenOver`` where
                the update has ended or a recovery acts for it.
        """
        async with running("check", check) as progress, asking_until(check.budget):
            await check_writer(self.cluster, check.namespace, check.request_id, check.recovery)
            plan = await read_plan(self.cluster, check.namespace, check.plan)
            request = await read_request(self.cluster, check.namespace, check.request_id)
            search = await self.usage.search(check.namespace, plan.closure, plan.depends_on, request.apps)
            telling = Telling()
            seen: set[tuple[str, str]] = set()
            while True:
                uses = (await search.look()).uses
                if not uses:
                    return CheckResult(waited_for=len(seen))
                seen.update((use.kind, use.name) for use in uses)
                names = [str(use) for use in uses]
                progress.report(len(seen) - len(uses), len(seen), "waits for " + ", ".join(names[:5]))
                await telling.tell(uses)
                if check.refuse:
                    raise StillInUse(
                        f"{counted(len(uses), 'use')} of the definitions (policy.drain is refuse); unregister, or use "
                        "drain wait, shutdown or live",
                        details=names,
                    )
                if seconds_left(check.budget) <= 0:
                    raise StillInUse(
                        f"still {counted(len(uses), 'use')} of the definitions when the time was up "
                        "(policy.drain_timeout)",
                        details=names,
                    )
                await asyncio.sleep(POLL_INTERVAL)
