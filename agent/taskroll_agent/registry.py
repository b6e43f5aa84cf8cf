"""The registry: where a service finds the task classes of the release that it runs."""

import logging
import threading
import time
import weakref
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, ParamSpec, TypeVar

from . import fronts, type_caches
from .collection import uncollected
from .contracts import DefinitionKey
from .errors import FlipFailed
from .generation import Generation, LoadedDefinition
from .leases import Lease, active_view, bound, held_generation, leased
from .module_set import ModuleSet
from .problems import described

_log = logging.getLogger(__name__)

P = ParamSpec("P")
T = TypeVar("T")


@dataclass(frozen=True)
class Active:
    """What a process runs: a generation, and the release that made it current."""

    generation: Generation
    epoch: int
    """0 before the first release."""
    release: str | None
    request_id: str | None
    activated_at: datetime | None
    """When this epoch began to be served here."""


@dataclass(frozen=True)
class GenerationInfo:
    """One generation that stands in memory."""

    number: int
    content_digest: str
    current: bool
    leases: int


OnActivate = Callable[[Active, Active], None]
"""Called with what is active now and what was before."""


class Registry:
    """Classes of the current generation by name; a lease keeps one generation for the length of a call.

    Safe from any thread. Look-ups in a context that holds a lease answer from the leased generation, all others from
    the current one.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._active = Active(Generation.empty(), 0, None, None, None)
        self._standing: weakref.WeakSet[Generation] = weakref.WeakSet()
        self._callbacks: list[OnActivate] = []
        self.carry_over: OnActivate | None = None
        """The host's part of a flip (`Host.flip`): called before the flip stands; by raising it keeps it from that."""
        self.flip_ms: float | None = None
        """Milliseconds that the latest flip took, by the clock: so long the event loop stood that it ran on."""

    @property
    def active(self) -> Active:
        """What this process runs now, whatever lease the caller holds."""
        return self._active

    @property
    def current_modules(self) -> ModuleSet:
        return self._active.generation.module_set

    @property
    def generation(self) -> Generation:
        """The generation that look-ups answer from: the leased one, else the current one."""
        held = held_generation(self)
        return self._active.generation if held is None else held

    def get(self, class_name: str) -> type[Any]:
        """Return the class of that name.

        Raises:
            DefinitionNotFound: where the release has none, or more than one.
        """
        return self.generation.get(class_name)

    def definition(self, key: DefinitionKey | str) -> LoadedDefinition:
        """Return the definition with that key (``Kind/name``).

        Raises:
            DefinitionNotFound: where the release has none.
        """
        return self.generation.definition(key)

    @contextmanager
    def lease(self) -> Generator[Generation]:
        """Hold the generation until the block ends, across awaits and in `asyncio.to_thread`.

        Within a lease another one holds the same generation. A plain thread or an executor does not inherit it: there
        take one, or run the call through `contextvars.copy_context`.
        """
        lease = self.take_lease()
        generation = lease.generation
        assert generation is not None
        try:
            with bound(lease):
                yield generation
        finally:
            self.give_back(lease)

    def leased(self, function: Callable[P, T]) -> Callable[P, T]:
        """Decorator: each call holds a lease. For functions, coroutines, generators and asynchronous generators.

        Also for a function that returns one of these or a task, which then keeps the generation of the call.
        """
        return leased(self, function)

    def take_lease(self, generation: Generation | None = None) -> Lease:
        """Begin a lease without binding it to the context; `give_back` ends it. For adapters; others use `lease`.

        It is on the generation that look-ups answer from, unless one is given.
        """
        outer = active_view()
        generation = self.generation if generation is None else generation
        lease = Lease(self, generation, outer)
        generation.leases.add(lease)
        return lease

    def give_back(self, lease: Lease) -> None:
        """End a lease. A second time does nothing."""
        generation = lease.end()
        if generation is None:
            return
        generation.leases.discard(lease)
        self.let_go(generation)

    def activate(self, generation: Generation, *, epoch: int, release: str, request_id: str) -> None:
        """Make a generation the current one, by one assignment. Callbacks run after it, in this thread.

        Raises:
            FlipFailed: where the host could not be carried over; nothing has changed then.
            BaseException: what a callback raised, after all of them ran; the flip stands.
        """
        after = Active(generation, epoch, release, request_id, datetime.now(UTC))
        self.track(generation)
        with uncollected():
            started = time.perf_counter()
            before = self._flip(after)
            with self._view_of(after):
                failure = self._call_back(after, before)
            self.flip_ms = (time.perf_counter() - started) * 1000
        if failure is not None:
            raise failure

    def _flip(self, after: Active) -> Active:
        names = after.generation.module_set.names
        fronts.show(names)
        try:
            self._carry_over(after)
        except BaseException as error:
            fronts.hide(names)
            if is_interrupt(error):
                raise
            message = f"the host cannot be put on {after.release}: {described(error)}"
            raise FlipFailed(message) from error
        fronts.put_last(self)
        with self._lock:
            before, self._active = self._active, after
        fronts.hide(before.generation.module_set.names)
        self.let_go(before.generation)
        return before

    def _call_back(self, after: Active, before: Active) -> BaseException | None:
        """Run all callbacks; return what the first that failed has raised."""
        failure: BaseException | None = None
        for callback in list(self._callbacks):
            try:
                callback(after, before)
            except BaseException as error:  # noqa: BLE001  one's failure must not keep the others on the old classes
                about = {"epoch": after.epoch, "request_id": after.request_id}
                _log.exception("on_activate callback failed", extra=about)
                failure = error if failure is None or is_interrupt(error) else failure
        return failure

    def _carry_over(self, after: Active) -> None:
        """Let the host flip, while everybody else still sees what ran before."""
        if self.carry_over is None:
            return
        with self._view_of(after):
            self.carry_over(after, self._active)

    @contextmanager
    def _view_of(self, after: Active) -> Generator[None]:
        """Look-ups in the block answer from `after`, also where whoever flips holds a lease: its own call may do it."""
        view = Lease(self, after.generation, None)
        try:
            with bound(view):
                yield
        finally:
            view.end()

    def on_activate(self, callback: OnActivate) -> Callable[[], None]:
        """Call `callback(active, before)` after each flip, in its thread; returns a function that takes it away.

        Look-ups in it answer from what is active now.
        """
        self._callbacks.append(callback)
        return lambda: self._callbacks.remove(callback)

    def track(self, generation: Generation) -> None:
        """Count this generation for as long as it stands in memory."""
        self._standing.add(generation)

    def let_go(self, generation: Generation) -> None:
        """Nobody needs this generation any more but the calls that hold a lease on it."""
        if generation is not self._active.generation and not generation.leases:
            type_caches.forget(generation.module_set)

    def generations(self) -> list[GenerationInfo]:
        """The generations that stand in memory, oldest first: current, prepared, leased, or not yet collected."""
        current = self._active.generation
        return [GenerationInfo(g.number, g.content_digest, g is current, len(g.leases)) for g in self.standing()]

    def standing(self) -> list[Generation]:
        """Those generations themselves. Whoever keeps the list keeps them in memory."""
        return sorted(self._standing, key=lambda generation: generation.number)

    def home_of(self, cls: type[Any]) -> Generation | None:
        """The generation, of those that stand in memory, whose module has this class; None where no release has."""
        for generation in list(self._standing):
            module = generation.module_set.table.get(cls.__module__)
            if module is not None and vars(module).get(cls.__qualname__) is cls:
                return generation
        return None

    def close(self) -> None:
        """Take the released modules out of `sys.modules`, put back what stood there. Classes handed out work on."""
        with self._lock:
            before, self._active = self._active, Active(Generation.empty(), 0, None, None, None)
        fronts.remove(self)
        fronts.hide(before.generation.module_set.names)
        self.let_go(before.generation)


def is_interrupt(error: BaseException) -> bool:
    """Whether it is the service's own to handle, and no failure of what was called during a flip.

    Of those that are no Exception only KeyboardInterrupt can be: a signal's, in the main thread. A flip awaits nothing,
    so a CancelledError is no cancelling of this task.
    """
    return isinstance(error, KeyboardInterrupt) and threading.current_thread() is threading.main_thread()


__all__ = ["Active", "GenerationInfo", "OnActivate", "Registry", "is_interrupt"]
