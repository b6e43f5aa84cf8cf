"""What uses the closure of a plan, as the steps of the saga look for it and show it."""

import asyncio
import contextlib
import time
from collections.abc import AsyncGenerator, Collection, Mapping
from dataclasses import dataclass, field

from temporalio import activity
from temporalio.service import RPCError

from taskroll.cluster.connection import Cluster
from taskroll.cluster.definitions import list_definitions
from taskroll.models.errors import GatewayUnavailable
from taskroll.models.usage import Use
from taskroll.platforms.cornserve.gateway import Gateway
from taskroll.platforms.cornserve.usage import Closure, UsageSearch
from taskroll.tasklib.closure import sources_of
from taskroll_agent.contracts import DefinitionContent

from .step import seconds_left

SHOWN = 20
"""How many uses the workflow is told of."""
TELL_INTERVAL = 2.0
"""Seconds from the step's start, and between two times: what is gone by then is not worth telling."""
MAX_TOLD = 10
"""How often a step tells the workflow: each time costs four events of its history."""


@dataclass
class ClosureUsage:
    """One per worker."""

    cluster: Cluster
    gateway: Gateway | None
    """None where ``services.yaml`` names no platform."""

    async def search(
        self, namespace: str, closure: Collection[str], depends_on: Collection[str], apps: Mapping[str, str]
    ) -> UsageSearch:
        """A search over the definitions as they are live.

        Args:
            closure: keys of the definitions that nobody may use.
            depends_on: keys of those that they import.
            apps: app id → digest of its source, from the request.
        """
        live = {key: found.content for key, found in (await list_definitions(self.cluster, namespace)).items()}
        sources = await asyncio.to_thread(sources_of, live.values())
        return UsageSearch(
            cluster=self.cluster,
            gateway=self.gateway,
            namespace=namespace,
            closure=Closure(
                sources=sources,
                modules=frozenset(live[key].module for key in closure if key in live),
                task_classes=_task_classes(live, closure),
                built_on=_task_classes(live, depends_on),
            ),
            sources=dict(apps),
        )


def _task_classes(live: Mapping[str, DefinitionContent], keys: Collection[str]) -> frozenset[str]:
    return frozenset(live[key].task_class_name for key in keys if key in live)


@contextlib.asynccontextmanager
async def asking_until(budget: float) -> AsyncGenerator[None]:
    """Let a gateway that does not answer be asked again, by a retry of the step, until its budget is used up."""
    try:
        yield
    except GatewayUnavailable as error:
        error.retryable = seconds_left(budget) > 0
        raise


@dataclass
class Telling:
    """Tells the workflow what is still in use, so that its current details show it. Not at each look."""

    _told: list[str] = field(default_factory=list[str])
    _at: float = field(default_factory=time.monotonic)
    _times: int = 0

    async def tell(self, uses: list[Use]) -> None:
        """Tell, where it differs from what was told last. Never fails: it is for people to look at."""
        now = [str(use) for use in uses[:SHOWN]]
        if now == self._told or self._times >= MAX_TOLD or time.monotonic() - self._at < TELL_INTERVAL:
            return
        info = activity.info()
        assert info.workflow_id is not None, "a step of the saga"
        handle = activity.client().get_workflow_handle(info.workflow_id, run_id=info.workflow_run_id)
        with contextlib.suppress(RPCError):
            await handle.signal("still_in_use", now)
            self._told, self._at, self._times = now, time.monotonic(), self._times + 1
