"""The agent: keeps one process on the release that the pointer names, and answers the calls of an update."""

import asyncio
import gc
import logging
import time
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import asdict
from typing import Any, Self

from .assembly import Assembly, note_error
from .attestation import Identity, live_content_digest, live_digests, resident_memory
from .census import take_census
from .cluster import Cluster, KubeCluster
from .contracts import (
    AbortAnswer,
    AbortRequest,
    ActivateAnswer,
    ActivateRequest,
    Attestation,
    Census,
    DefinitionKey,
    HoldAnswer,
    HoldRequest,
    ImportProblem,
    PrepareAnswer,
    PrepareRequest,
    ReleaseAnswer,
    ReleasePointer,
    ReleaseRequest,
    StandingGeneration,
)
from .errors import AgentError, ClusterError, CorruptObject, FlipFailed, LoadFailed, NotInCluster, Refused
from .follower import Follower
from .gate import Gate
from .generation import Generation
from .host import Host
from .problems import rule_problem
from .registry import Registry
from .settings import AgentSettings

_log = logging.getLogger(__name__)


class Agent:
    """One per process, for one life: `start`, then `stop`.

    All methods belong to the event loop that `start` ran on. The registry may be used from any thread.
    """

    def __init__(
        self,
        settings: AgentSettings | None = None,
        *,
        registry: Registry | None = None,
        cluster: Cluster | None = None,
        host: Host | None = None,
    ) -> None:
        """Nothing is read from the cluster yet; `start` does that.

        Args:
            settings: by default from the environment.
            registry: by default a new one; it is `self.registry`.
            cluster: where releases are read; by default the API server of the settings.
            host: what else of this process has to change with the registry.

        Raises:
            SettingsError: where settings are missing or malformed.
        """
        self.settings = AgentSettings.from_env() if settings is None else settings
        self.registry = Registry() if registry is None else registry
        self.gate = Gate()
        """Where calls enter this process, each is admitted by it."""
        self.identity = Identity(self.settings.pod, self.settings.pod_uid)
        self._host = host
        if host is not None:
            self.registry.carry_over = host.flip
        self._cluster: Cluster = KubeCluster(self.settings) if cluster is None else cluster
        self._assembly = Assembly(self.settings, self._cluster, self.registry)
        self._follower = Follower(self._cluster, self.registry, self._assembly)
        self._preparing: dict[str, asyncio.Task[PrepareAnswer]] = {}
        """Request id → the latest prepare in flight for it."""
        self._tasks: list[asyncio.Task[None]] = []
        self._stopped = False
        self._one_census = asyncio.Lock()

    async def start(self) -> None:
        """Load the release that the pointer names, then follow the pointer until `stop`.

        Returns when the release runs, when there is none, or after `start_timeout` seconds; in that last case it goes
        on in the background and `ready` stays False until it is there.

        Raises:
            AgentError: where it was started before.
        """
        if self._tasks or self._stopped:
            raise AgentError("an agent starts once; make another one")
        self._tasks = [
            asyncio.create_task(self._follower.listen(), name="taskroll-agent-listen"),
            asyncio.create_task(self._follower.catch_up(), name="taskroll-agent-catch-up"),
        ]
        try:
            async with asyncio.timeout(self.settings.start_timeout):
                await self._follower.ready.wait()
        except TimeoutError:
            _log.warning("not ready after %g s: %s", self.settings.start_timeout, self.problem)

    async def stop(self) -> None:
        """Stop following; loads in flight are given up. Classes stay in place for calls that still run.

        `Registry.close` takes those away too.
        """
        tasks, self._tasks, self._stopped = self._tasks, [], True
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self._assembly.stop()
        await asyncio.gather(*self._preparing.values(), return_exceptions=True)
        await self._cluster.aclose()

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    @asynccontextmanager
    async def lifespan(self, _app: Any = None) -> AsyncGenerator[None]:
        """For ``Starlette(lifespan=agent.lifespan)`` and ``FastAPI(lifespan=agent.lifespan)``."""
        async with self:
            yield

    async def until_ready(self) -> None:
        """Wait until `ready`, however long that takes."""
        await self._follower.ready.wait()

    @property
    def ready(self) -> bool:
        """A release runs, or it is known that there is none. Once True it stays so: the process can serve."""
        return self._follower.ready.is_set()

    @property
    def problem(self) -> str | None:
        """Why this process does not run the release that the pointer names; None where it does."""
        return self._follower.problem

    async def prepare(self, request: PrepareRequest) -> PrepareAnswer:
        """Load the current release with the request's changes beside the current generation.

        Asked again for the same, it answers the same without loading again; several updates can be prepared side by
        side. It is a task of its own: a caller that goes away does not end it.

        Raises:
            ClusterUnavailable: where the API server cannot be read now.
            ValueError: where a key is no definition key.
        """
        started = time.perf_counter()
        for key in request.definitions:
            DefinitionKey.parse(key)
        digests = await self._base() | {key: d for key, d in request.definitions.items() if d is not None}
        for key in (key for key, digest in request.definitions.items() if digest is None):
            digests.pop(key, None)
        task = asyncio.create_task(self._prepare(request.request_id, digests, started))
        self._preparing[request.request_id] = task
        task.add_done_callback(lambda done: self._preparation_ended(request.request_id, done))
        return await asyncio.shield(task)

    async def activate(self, request: ActivateRequest) -> ActivateAnswer:
        """Make the release current, or confirm that it is.

        Raises:
            Refused: for an epoch below the one that runs or that the pointer names, for another release of the same
                epoch, and where the release cannot be loaded or the host not be carried over to it.
            ClusterUnavailable: where it was not prepared and cannot be read now.
        """
        target = ReleasePointer.model_validate(request.model_dump())
        already = self._follower.runs(target)
        if not already:
            try:
                await self._follower.move(target)
            except (LoadFailed, FlipFailed, CorruptObject, NotInCluster) as error:
                raise Refused("not_loadable", str(error)) from error
        active = self.registry.active
        return ActivateAnswer(
            epoch=active.epoch, content_digest=active.generation.content_digest, already_active=already
        )

    async def hold(self, request: HoldRequest) -> HoldAnswer:
        """Let no new call of these classes in, and wait for those in flight. Only release, abort or time ends it."""
        return await self.gate.hold(request)

    async def release(self, request: ReleaseRequest) -> ReleaseAnswer:
        """Let the calls go on that the update has held."""
        return self.gate.release(request.request_id)

    async def abort(self, request: AbortRequest) -> AbortAnswer:
        """Drop what was prepared for the update, or is being prepared, and let go of the calls that it holds.

        What already runs is never touched by it.

        Raises:
            Refused: where the update is committed and this process is about to run it.
        """
        committed = self._follower.wanted()
        if committed is not None and committed.request_id == request.request_id:
            raise Refused("stale_epoch", f"{request.request_id} is committed as epoch {committed.epoch}")
        in_flight = self._preparing.pop(request.request_id, None) is not None
        dropped = self._assembly.prepared.drop(request.request_id) or in_flight
        self._assembly.trim()
        self.gate.release(request.request_id)
        _log.info("aborted; dropped: %s", dropped, extra={"request_id": request.request_id})
        return AbortAnswer(dropped=dropped)

    def attest(self, nonce: str | None = None, *, full: bool = False) -> Attestation:
        """Say what is live in this process; `full` lists each definition."""
        active, pointer, standing = self.registry.active, self._follower.pointer, self.registry.generations()
        # Before the first release the platform runs what it found by itself.
        hosted = self._host.live_classes() if self._host is not None and active.epoch > 0 else None
        live = live_digests(active.generation, hosted)
        return Attestation(
            pod=self.identity.pod,
            pod_uid=self.identity.pod_uid,
            process=self.identity.process,
            started_at=self.identity.started_at,
            epoch=active.epoch,
            release=active.release,
            content_digest=live_content_digest(active.generation, live),
            definitions=live if full else None,
            activated_at=active.activated_at,
            flip_ms=self.registry.flip_ms,
            prepared=self._assembly.prepared.request_ids(),
            generations=len(standing),
            standing=[StandingGeneration(**asdict(info)) for info in standing],
            memory_bytes=resident_memory(),
            pointer_epoch=pointer.epoch if pointer is not None else None,
            problem=self.problem,
            nonce=nonce,
        )

    async def census(self, *, collect: bool = False) -> Census:
        """Say what of former generations is alive in this process, and who holds it. One at a time.

        It takes up to `census.SECONDS` seconds in a thread, which shares the interpreter with the calls of the service.
        `collect` has the garbage collector run first, so that nothing is counted which nobody holds any more: that
        stops all threads for one full collection.
        """
        async with self._one_census:
            if collect:
                gc.collect()
            prepared = [one.generation for one in self._assembly.prepared]
            hosted = list(self._host.live_objects()) if self._host is not None else []
            return await asyncio.to_thread(take_census, self.registry, prepared, hosted, process=self.identity.process)

    async def _base(self) -> dict[str, str]:
        """What an update builds on: the release that the pointer names now, read fresh; else what runs here."""
        await self._follower.look()
        wanted = self._follower.wanted()
        if wanted is not None and self._follower.trusts_pointer:
            return dict(await self._assembly.digests_of(wanted))
        return dict(self.registry.active.generation.digests)

    async def _prepare(self, request_id: str, digests: dict[str, str], started: float) -> PrepareAnswer:
        try:
            generation = await self._assembly.generation(digests)
        except LoadFailed as error:
            seconds = time.perf_counter() - started
            return PrepareAnswer(request_id=request_id, prepared=False, problems=error.problems, seconds=seconds)
        except ClusterError:
            raise
        except Exception as error:  # noqa: BLE001
            # Asked again it would be the same: an answer ends the update at once, a 500 does not.
            _log.exception("prepare failed", extra={"request_id": request_id})
            message = "an error that the agent did not foresee; its log has the traceback"
            problem = rule_problem("the whole release", "", type(error).__name__, message)
            seconds = time.perf_counter() - started
            return PrepareAnswer(request_id=request_id, prepared=False, problems=[problem], seconds=seconds)
        problems = await self._check(generation)
        if problems:
            if self._assembly.prepared.with_content(generation.content_digest) is None:
                self.registry.let_go(generation)
            seconds = time.perf_counter() - started
            return PrepareAnswer(request_id=request_id, prepared=False, problems=problems, seconds=seconds)
        latest = self._preparing.get(request_id) is asyncio.current_task()
        # Else it was aborted or asked for anew while it loaded: the answer is true, but this one is not what is kept.
        if latest and generation is not self.registry.active.generation:
            self._assembly.prepared.put(request_id, generation)
        self._assembly.trim()
        return PrepareAnswer(
            request_id=request_id,
            prepared=True,
            content_digest=generation.content_digest,
            seconds=time.perf_counter() - started,
        )

    async def _check(self, generation: Generation) -> list[ImportProblem]:
        """What the host says against the generation."""
        before = self.registry.active.generation
        if self._host is None or generation is before:
            return []
        try:
            async with asyncio.timeout(self.settings.load_timeout):
                return list(await self._host.check(generation, before))
        except Exception as error:  # noqa: BLE001  whatever it is: what was not checked is not prepared
            _log.exception("the host's check failed")
            name = type(self._host).__name__
            return [rule_problem(name, type(self._host).__module__, type(error).__name__, f"{name}.check failed")]

    def _preparation_ended(self, request_id: str, task: asyncio.Task[PrepareAnswer]) -> None:
        if self._preparing.get(request_id) is task:
            del self._preparing[request_id]
        note_error(task)
