"""Moves a process to the release that the pointer names, whoever says so first: the pointer itself or a call.

Both go through one check, so whichever comes first flips and the other confirms. It never goes to a lower epoch, nor to
one that the pointer has left behind. What it cannot load leaves it where it is; it says why and tries again.
"""

import asyncio
import logging
from contextlib import suppress

from .assembly import Assembly
from .cluster import Cluster, PointerState
from .contracts import ReleasePointer
from .errors import ClusterError, FlipFailed, Refused
from .generation import Generation
from .kube_api import Backoff
from .registry import Active, Registry, is_interrupt

_log = logging.getLogger(__name__)


class Follower:
    """Knows the pointer and what runs, and brings the second to the first."""

    def __init__(self, cluster: Cluster, registry: Registry, assembly: Assembly) -> None:
        self._cluster = cluster
        self._registry = registry
        self._assembly = assembly
        self._behind = asyncio.Event()
        self._pointer_problem: str | None = "the release pointer was not read yet"
        self._heard = 0
        self._load_problem: str | None = None
        self._callback_problem: str | None = None
        self.ready = asyncio.Event()
        """Set once a release runs or it is known that there is none; stays set."""
        self.pointer: ReleasePointer | None = None
        """The newest that was seen, of those that can be trusted."""

    @property
    def problem(self) -> str | None:
        """Why the process does not run what the pointer names."""
        return self._pointer_problem or self._load_problem or self._callback_problem

    @property
    def trusts_pointer(self) -> bool:
        """Whether the pointer's last state can be built on."""
        return self._pointer_problem is None

    def wanted(self) -> ReleasePointer | None:
        """The release that the pointer names, where this process does not run it."""
        pointer, active = self.pointer, self._registry.active
        if pointer is None or pointer.epoch < active.epoch or _is(active, pointer):
            return None
        return pointer

    def runs(self, target: ReleasePointer) -> bool:
        """Whether the target runs already.

        Raises:
            Refused: where this process must not go there: a lower epoch, or another release of the same one.
        """
        active, pointer = self._registry.active, self.pointer
        if target.epoch < active.epoch:
            raise Refused("stale_epoch", f"epoch {target.epoch} is below {active.epoch}, which runs here")
        if pointer is not None and target.epoch < pointer.epoch:
            raise Refused("stale_epoch", f"epoch {target.epoch} is below {pointer.epoch}, which the pointer names")
        if pointer is not None and pointer.epoch == target.epoch:
            # What the pointer names is right, even where something else was activated under this epoch before.
            if (pointer.release, pointer.content_digest) != (target.release, target.content_digest):
                raise Refused("other_update", f"epoch {target.epoch} is {pointer.release}, not {target.release}")
        elif target.epoch == active.epoch and not _is(active, target):
            raise Refused("other_update", f"epoch {target.epoch} runs here as {active.release}, not {target.release}")
        return _is(active, target)

    async def move(self, target: ReleasePointer) -> None:
        """Load the target if it is not at hand, then flip to it.

        Raises:
            Refused: where that is not, or no longer, where this process may go.
            LoadFailed, ClusterError: where it cannot be loaded; nothing has changed then.
            FlipFailed: where the host cannot be carried over; nothing has changed then either.
        """
        generation = self._assembly.at_hand(target.content_digest)
        if generation is None:
            generation = await self._assembly.generation(await self._assembly.digests_of(target))
        if not self.runs(target):
            self._flip(target, generation)

    def hear(self, state: PointerState) -> None:
        """Take in what the pointer says; flip at once where the generation is at hand, else wake the catching up."""
        self._heard += 1
        epoch, seen = self._registry.active.epoch, self.pointer
        if state.pointer is None:
            gone = f"the release pointer is gone; staying at epoch {epoch}" if seen is not None or epoch else None
            self._set_pointer_problem(state.problem or gone)
        elif seen is not None and state.pointer.epoch < seen.epoch:
            self._set_pointer_problem(f"the release pointer went down from epoch {seen.epoch} to {state.pointer.epoch}")
        else:
            self.pointer = state.pointer
            self._set_pointer_problem(None)
        wanted = self.wanted()
        if wanted is None:
            self._load_problem = None
            if self._pointer_problem is None:
                self.ready.set()
            return
        generation = self._assembly.at_hand(wanted.content_digest)
        if generation is None:
            self._behind.set()
            return
        try:
            self._flip(wanted, generation)
        except FlipFailed as error:
            self._cannot_run(wanted, error)
            self._behind.set()

    async def look(self) -> None:
        """Read the pointer now and take in what it says.

        Raises:
            ClusterError: where it cannot be read.
        """
        before = self._heard
        state = await self._cluster.pointer()
        # What was heard while the answer was under way may be newer than it.
        if self._heard == before:
            self.hear(state)

    async def listen(self) -> None:
        """Follow the pointer until cancelled."""
        trouble: str | None = None
        async for news in self._cluster.follow_pointer():
            if isinstance(news, PointerState):
                if trouble is not None:
                    _log.info("the release pointer can be read again")
                trouble = None
                self.hear(news)
                continue
            # Said once, not at each of the attempts that follow.
            if str(news) != trouble:
                _log.warning("the release pointer cannot be followed: %s", news)
            trouble = str(news)
            if not self.ready.is_set():
                self._pointer_problem = f"the release pointer cannot be read: {news}"

    async def catch_up(self) -> None:
        """Load what the pointer names and is not at hand; until cancelled."""
        while True:
            await self._behind.wait()
            self._behind.clear()
            backoff = Backoff(base=0.5, cap=30.0)
            while (target := self.wanted()) is not None:
                try:
                    await self.move(target)
                except Refused:
                    continue  # the pointer has moved on while it loaded
                except Exception as error:  # noqa: BLE001  whatever it is: keep serving, say so, try again
                    self._cannot_run(target, error)
                    with suppress(TimeoutError):
                        async with asyncio.timeout(backoff.next()):
                            await self._behind.wait()
                    self._behind.clear()

    def _cannot_run(self, target: ReleasePointer, error: Exception) -> None:
        kind = "" if isinstance(error, ClusterError) else f"{type(error).__name__}: "
        self._load_problem = f"cannot run {target.release} (epoch {target.epoch}): {kind}{error}"
        _log.warning(self._load_problem, extra={"epoch": target.epoch, "request_id": target.request_id})

    def _flip(self, target: ReleasePointer, generation: Generation) -> None:
        before = self._registry.active
        self._callback_problem = None
        try:
            self._registry.activate(
                generation, epoch=target.epoch, release=target.release, request_id=target.request_id
            )
        except FlipFailed:
            raise
        except BaseException as error:  # an adapter's callback; the classes are live all the same
            if is_interrupt(error):
                raise
            self._callback_problem = f"on_activate: {type(error).__name__}: {error}"
        self._load_problem = None
        prepared = self._assembly.prepared
        for one in [p for p in prepared if p.generation is generation or p.request_id == target.request_id]:
            prepared.drop(one.request_id)
        if before.generation is not generation:
            self._assembly.remember_former(before.generation)
        self._assembly.trim()
        self.ready.set()
        _log.info(
            "serving epoch %d, was %d",
            target.epoch,
            before.epoch,
            extra={"epoch": target.epoch, "request_id": target.request_id, "release": target.release},
        )

    def _set_pointer_problem(self, problem: str | None) -> None:
        if problem is not None and problem != self._pointer_problem:
            _log.error(problem)
        self._pointer_problem = problem


def _is(active: Active, target: ReleasePointer) -> bool:
    running = (active.epoch, active.release, active.generation.content_digest)
    return running == (target.epoch, target.release, target.content_digest)
