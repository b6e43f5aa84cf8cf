"""Unregistration check: no instance of the closure lives, seen behind the fence."""

import asyncio
from dataclasses import dataclass

from temporalio import activity

from taskroll.cluster.connection import Cluster
from taskroll.cluster.plans import read_plan
from taskroll.cluster.task_instances import list_instances
from taskroll.models.errors import StillInUse
from taskroll.models.steps import CheckInput, CheckResult
from taskroll.models.wording import counted

from .step import running, seconds_left

POLL_INTERVAL = 0.5
"""Seconds between two looks at the live instances."""


@dataclass
class CheckUnregistered:
    cluster: Cluster

    @activity.defn(name="check")
    async def run(self, check: CheckInput) -> CheckResult:
        """Wait until no instance is left, or refuse at once.

        Raises:
            ApplicationError: ``StillInUse``, naming the instances, where the policy is to refuse or time is up.
        """
        async with running("check", check) as progress:
            plan = await read_plan(self.cluster, check.namespace, check.plan)
            seen: set[str] = set()
            while True:
                instances = await list_instances(self.cluster, check.namespace, set(plan.task_classes))
                if not instances:
                    return CheckResult(waited_for=len(seen))
                names = [
                    f"{instance.class_name} {instance.name} (since {instance.created_at})" for instance in instances
                ]
                seen.update(instance.name for instance in instances)
                progress.report(len(seen) - len(instances), len(seen), "waits for " + ", ".join(names[:5]))
                count = counted(len(instances), "instance")
                if check.refuse:
                    raise StillInUse(
                        f"in use by {count} (policy.drain is refuse); unregister, or use drain wait",
                        details=names,
                    )
                if seconds_left(check.budget) <= 0:
                    raise StillInUse(
                        f"still in use by {count} after {check.budget:g} s (policy.drain_timeout)",
                        details=names,
                    )
                await asyncio.sleep(POLL_INTERVAL)
