"""The connection to Temporal: made at the first use, so that what needs the cluster alone works without Temporal."""

import asyncio
from collections.abc import Generator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta

from temporalio.api.enums.v1 import TaskQueueType
from temporalio.api.taskqueue.v1 import TaskQueue
from temporalio.api.workflowservice.v1 import DescribeTaskQueueRequest
from temporalio.client import Client
from temporalio.contrib.pydantic import pydantic_data_converter
from temporalio.envconfig import ClientConfig
from temporalio.service import RPCError, RPCStatusCode

from taskroll.models.errors import InvalidRequest, ServiceUnavailable
from taskroll.models.wording import transport_cause

from .settings import Settings

CONNECT_TIMEOUT = timedelta(seconds=5)
RPC_TIMEOUT = timedelta(seconds=10)
"""Of a call that the Temporal server answers by itself."""
DEFAULT_ADDRESS = "localhost:7233"

_CREDENTIALS = "check TEMPORAL_API_KEY, the TLS settings and the namespace of the profile"


class NoWorker(ServiceUnavailable):
    """Temporal answers, and no worker does."""


class TemporalConnection:
    """One client for the life of a front. A connection that failed is tried again at the next use."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._client: Client | None = None
        self._connecting = asyncio.Lock()
        self.address = settings.temporal_address or DEFAULT_ADDRESS
        """``host:port``, as far as it is known: of the profile once the first connection was tried."""
        self.namespace = "default"
        """Temporal's namespace, not that of the definitions."""

    async def client(self) -> Client:
        """Return the connected client.

        Raises:
            ServiceUnavailable: where Temporal cannot be reached.
            InvalidRequest: where the profile or a variable cannot be read, or the address is none.
        """
        async with self._connecting:
            if self._client is None:
                self._client = await self._connect()
            return self._client

    async def _connect(self) -> Client:
        try:
            config = ClientConfig.load_client_connect_config(profile=self._settings.profile)
        except (RuntimeError, ValueError, OSError) as error:
            raise InvalidRequest(
                f"Temporal's profile {self._settings.profile or 'default'!r} cannot be loaded: {error}; "
                "see --profile, TEMPORAL_PROFILE and TEMPORAL_CONFIG_FILE"
            ) from error
        if self._settings.temporal_address is not None:
            config["target_host"] = self._settings.temporal_address
        self.address = config.setdefault("target_host", DEFAULT_ADDRESS)
        self.namespace = config.setdefault("namespace", "default")
        if ":" not in self.address:
            raise self._no_address("it names no port")
        try:
            async with asyncio.timeout(CONNECT_TIMEOUT.total_seconds() + 1):
                return await Client.connect(
                    **config, data_converter=pydantic_data_converter, connect_timeout=CONNECT_TIMEOUT
                )
        except ValueError as error:
            raise self._no_address(str(error)) from error
        except (RuntimeError, TimeoutError) as error:
            raise self.unreachable(error) from error

    def _no_address(self, why: str) -> InvalidRequest:
        return InvalidRequest(
            f"Temporal address {self.address!r} is no address: write host:port in --temporal-address or "
            f"TEMPORAL_ADDRESS ({why})"
        )

    def unreachable(self, cause: BaseException) -> ServiceUnavailable:
        """The error for a Temporal that does not answer, with the ways out."""
        return ServiceUnavailable(
            f"Temporal at {self.address} (namespace {self.namespace!r}) cannot be reached: {transport_cause(cause)}; "
            "set --temporal-address, TEMPORAL_ADDRESS or --profile, or start one here with: taskroll dev up"
        )

    @contextmanager
    def errors(self, doing: str) -> Generator[None]:
        """Turn what a call to Temporal raises into our own errors. NOT_FOUND passes: only the caller knows of what.

        Args:
            doing: What the call is for, as in «could not list updates».

        Raises:
            ServiceUnavailable: where Temporal is away, overloaded, or does not accept these credentials; `NoWorker`
                where it knows of none that could answer.
        """
        try:
            yield
        except RPCError as error:
            if "no poller seen" in error.message:
                raise NoWorker(f"could not {doing}: {self._nobody('no worker polls it')}") from error
            if error.status in (RPCStatusCode.UNAVAILABLE, RPCStatusCode.CANCELLED, RPCStatusCode.DEADLINE_EXCEEDED):
                raise self.unreachable(error) from error
            if error.status in (RPCStatusCode.PERMISSION_DENIED, RPCStatusCode.UNAUTHENTICATED):
                raise ServiceUnavailable(
                    f"could not {doing}: Temporal at {self.address} refuses these credentials for namespace "
                    f"{self.namespace!r}: {error.message}; {_CREDENTIALS}"
                ) from error
            if error.status == RPCStatusCode.NOT_FOUND and "Namespace" in error.message:
                raise ServiceUnavailable(
                    f"could not {doing}: Temporal at {self.address} has no namespace {self.namespace!r}; set "
                    f"TEMPORAL_NAMESPACE, or make it: temporal operator namespace create {self.namespace}"
                ) from error
            if error.status == RPCStatusCode.RESOURCE_EXHAUSTED:
                raise ServiceUnavailable(
                    f"could not {doing}: Temporal at {self.address} is overloaded: {error.message}; try again"
                ) from error
            raise

    async def no_worker(self, waited: timedelta, doing: str) -> NoWorker:
        """The error for a call that no worker answered, with what Temporal knows of the queue's workers."""
        last_seen = await self.last_poll()
        if last_seen is None:
            who = "no worker polls it"
        else:
            who = f"a worker last asked it for work {(datetime.now(UTC) - last_seen).total_seconds():.0f} s ago"
        return NoWorker(
            f"could not {doing}: no worker answered within {waited.total_seconds():g} s; {self._nobody(who)}"
        )

    def _nobody(self, who: str) -> str:
        """Where a worker was looked for, who is there, and the way out."""
        queue = self._settings.task_queue
        return (
            f"task queue {queue!r} of Temporal at {self.address} (namespace {self.namespace!r}): {who}. Start one: "
            f"taskroll-worker --task-queue {queue}; or name the queue that yours polls: --task-queue, "
            "TASKROLL_TASK_QUEUE"
        )

    async def last_poll(self) -> datetime | None:
        """When a worker last asked the task queue for workflow tasks; None where none did in the last minutes."""
        return max((await self.pollers()).values(), default=None)

    async def pollers(self) -> dict[str, datetime]:
        """Who asked the task queue for workflow tasks in the last minutes, and when last, by the worker's identity.

        Temporal remembers a worker for five minutes, and one that waits for work asks about once a minute: a time of
        some seconds ago does not prove that the worker lives.
        """
        client = await self.client()
        with self.errors("look for workers"):
            answer = await client.workflow_service.describe_task_queue(
                DescribeTaskQueueRequest(
                    namespace=client.namespace,
                    task_queue=TaskQueue(name=self._settings.task_queue),
                    task_queue_type=TaskQueueType.TASK_QUEUE_TYPE_WORKFLOW,
                ),
                timeout=RPC_TIMEOUT,
            )
        return {poller.identity: poller.last_access_time.ToDatetime(UTC) for poller in answer.pollers}
