"""The gate: where calls enter a process, it holds new ones that use the classes of an update until all have flipped.

Each call is admitted by `Gate.call`, which counts it until it ends. A hold lets no new call of its classes in and waits
for those in flight. So between hold and release no call runs that could meet two versions, in this process or in those
that it calls. A hold ends by `release`, or by itself once its time is over: a worker that dies stalls no service.

Gate calls at the edge only. A process that is called in the middle of a gated call must not gate that part of it too:
the edge would wait for the whole, and the whole for that part.
"""

import asyncio
import logging
import threading
import time
from collections import deque
from collections.abc import Generator, Iterable
from concurrent.futures import Future
from contextlib import contextmanager, suppress
from contextvars import ContextVar, Token
from datetime import UTC, datetime
from types import TracebackType
from typing import Final, Self

from .contracts import CallInFlight, HoldAnswer, HoldRequest, ReleaseAnswer
from .errors import AgentError, CallCancelled

_log = logging.getLogger(__name__)

MOST_NAMED: Final = 20
"""Calls in flight that an answer lists; all of them are counted."""

CANCEL_GRACE: Final = 5.0
"""Seconds that cancelled calls have to end before the hold is given up."""

REMEMBERED: Final = 600.0
"""Seconds that a hold which ended by itself is remembered, for the release that asks what became of it."""


class Gate:
    """Admits calls and holds them. Safe from any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._left: deque[Call] = deque()
        """Calls that have ended and are still counted."""
        self._calls: set[Call] = set()
        self._holds: dict[str, _Hold] = {}

    def call(self, class_names: Iterable[str] = ()) -> "Call":
        """One call, for ``async with`` on an event loop or ``with`` in a thread.

        It waits to enter while a hold concerns it. Within a call that this hold waits for, another is let in at once.

        Args:
            class_names: the task classes that the call may use; none means any.

        Raises (as the block is entered or left):
            CallCancelled: in place of `asyncio.CancelledError`, where an update has cancelled the call.
            AgentError: for ``with`` on a running event loop, where it would have to wait and so stall the loop.
        """
        return Call(self, _names(class_names))

    async def hold(self, request: HoldRequest) -> HoldAnswer:
        """Let no new call of these classes in, and wait for those in flight.

        The same request again goes on with the same hold and renews it. Calls that do not end within `seconds` are
        cancelled where that is asked for; where any still runs then, the hold is given up and the answer names them.
        """
        hold = self._begin(request)
        asker = hold.asker = object()
        cancelled = 0
        if not await _done(hold.drained, request.seconds) and request.cancel:
            cancelled = self._cancel(hold)
            await _done(hold.drained, CANCEL_GRACE if cancelled else 0)
        with self._locked():
            in_flight = sorted(hold.waits_for, key=lambda call: call.since)
            held = not in_flight and not hold.over()
            if not held and hold.asker is asker and self._holds.get(request.request_id) is hold:
                del self._holds[request.request_id]
                hold.end()
        if not held:
            _log.warning("calls not held: %d in flight", len(in_flight), extra={"request_id": request.request_id})
        return HoldAnswer(
            held=held,
            in_flight=len(in_flight),
            details=[call.described() for call in in_flight[:MOST_NAMED]],
            cancelled=cancelled,
        )

    def release(self, request_id: str) -> ReleaseAnswer:
        """End the update's hold: the calls that wait go on. Without a hold it does nothing."""
        with self._locked():
            hold = self._holds.pop(request_id, None)
            if hold is None:
                return ReleaseAnswer(held_ms=0.0, waited_calls=0)
            answer = hold.end()
        _log.info("calls released after %.1f ms", answer.held_ms, extra={"request_id": request_id})
        return answer

    @property
    def holding(self) -> list[str]:
        """Request ids of the updates that hold calls now."""
        with self._locked():
            return [request_id for request_id, hold in self._holds.items() if not hold.over()]

    def admit(self, call: "Call") -> "_Hold | None":
        """Let the call in and return None; else the hold that it has to wait for."""
        with self._locked():
            concerned = [hold for hold in self._holds.values() if hold.concerns(call) and not hold.over()]
            for hold in concerned:
                if not any(outer in hold.waits_for for outer in call.within):
                    hold.note_waiting(call)
                    return hold
            self._calls.add(call)
            for hold in concerned:
                hold.waits_for.add(call)  # it may outlive the call that it is within
            return None

    def leave(self, call: "Call") -> None:
        """The call has ended. Never waits for the lock.

        The garbage collector may be what ends it, by closing a generator: at any moment, and on the thread that has the
        lock just then.
        """
        self._left.append(call)
        self._settle()

    @contextmanager
    def _locked(self) -> Generator[None]:
        """In the block calls and holds stay what they are; calls that end in it are taken out after it."""
        try:
            with self._lock:
                self._take_out()
                yield
        finally:
            self._settle()

    def _settle(self) -> None:
        # Where the lock is taken, whoever has it comes here after it has let go.
        while self._left and self._lock.acquire(blocking=False):
            try:
                self._take_out()
            finally:
                self._lock.release()

    def _take_out(self) -> None:
        while self._left:
            call = self._left.popleft()
            self._calls.discard(call)
            for hold in self._holds.values():
                hold.call_ended(call)

    def _begin(self, request: HoldRequest) -> "_Hold":
        now = time.monotonic()
        with self._locked():
            for request_id, hold in list(self._holds.items()):
                if hold.over(now - REMEMBERED):
                    del self._holds[request_id]
            hold = self._holds.get(request.request_id)
            if hold is None or hold.over() or hold.classes != _names(request.classes):
                if hold is not None:
                    hold.end()
                hold = self._holds[request.request_id] = _Hold(_names(request.classes), now)
                hold.wait_for(call for call in self._calls if hold.concerns(call))
            hold.expires = now + request.expires
        return hold

    def _cancel(self, hold: "_Hold") -> int:
        with self._locked():
            calls = list(hold.waits_for)
        return sum(call.cancel() for call in calls)


class Call:
    """One call through a gate, made by `Gate.call`; entered once."""

    def __init__(self, gate: Gate, classes: frozenset[str]) -> None:
        self.classes = classes
        self.since = datetime.now(UTC)
        self.arrived = time.monotonic()
        self.within = tuple(call for call in _WITHIN.get() if call.entered)
        """The calls that this one is part of."""
        self.entered = False
        self.waited_for: _Hold | None = None
        self._gate = gate
        self._task: asyncio.Task[object] | None = None
        self._token: Token[tuple[Call, ...]] | None = None
        self._cancelled = False

    async def __aenter__(self) -> Self:
        while (hold := self._gate.admit(self)) is not None:
            await _done(hold.ended, hold.seconds_left())
        self._task = asyncio.current_task()
        return self._enter()

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, _: object) -> None:
        self._leave()
        if self._cancelled and self._task is not None:
            others = self._task.uncancel()
            if kind is asyncio.CancelledError and not others:
                raise CallCancelled("an update has cancelled this call: it did not end in the time given") from error

    def __enter__(self) -> Self:
        while (hold := self._gate.admit(self)) is not None:
            if _on_a_loop():
                raise AgentError("calls are held: on an event loop write `async with gate.call(…)`")
            with suppress(TimeoutError):
                hold.ended.result(hold.seconds_left())
        return self._enter()

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        self._leave()

    def cancel(self) -> bool:
        """Cancel the task that the call runs in; False where it runs in a thread, which cannot be cancelled."""
        task = self._task
        if task is None or not self.entered:
            return False
        task.get_loop().call_soon_threadsafe(self._cancel, task)
        return True

    def described(self) -> CallInFlight:
        return CallInFlight(classes=sorted(self.classes), since=self.since)

    def _cancel(self, task: "asyncio.Task[object]") -> None:
        if self.entered and not self._cancelled:
            self._cancelled = True
            task.cancel()

    def _enter(self) -> Self:
        self.entered = True
        self._token = _WITHIN.set((*self.within, self))
        return self

    def _leave(self) -> None:
        self.entered = False
        self._gate.leave(self)
        if self._token is not None:
            # ValueError: left in another context than entered, as frameworks do with generators.
            with suppress(ValueError):
                _WITHIN.reset(self._token)


_WITHIN: ContextVar[tuple[Call, ...]] = ContextVar("taskroll_agent_calls", default=())


class _Hold:
    """One update's hold. All of it is read and written under the gate's lock, but for its futures."""

    def __init__(self, classes: frozenset[str], began: float) -> None:
        self.classes = classes
        self.expires = began
        self.waits_for: set[Call] = set()
        self.drained: Future[None] = Future()
        self.ended: Future[None] = Future()
        self.asker: object = None
        """The latest who asked for it: only that one may give it up."""
        self._began = began
        self._waited_calls = 0
        self._first_arrival: float | None = None

    def concerns(self, call: Call) -> bool:
        return not self.classes or not call.classes or not self.classes.isdisjoint(call.classes)

    def over(self, at: float | None = None) -> bool:
        return self.ended.done() or self.expires <= (time.monotonic() if at is None else at)

    def seconds_left(self) -> float:
        return max(0.0, self.expires - time.monotonic())

    def wait_for(self, calls: Iterable[Call]) -> None:
        self.waits_for = set(calls)
        if not self.waits_for:
            self.drained.set_result(None)

    def call_ended(self, call: Call) -> None:
        if call in self.waits_for:
            self.waits_for.discard(call)
            if not self.waits_for:
                self.drained.set_result(None)

    def note_waiting(self, call: Call) -> None:
        if call.waited_for is self:
            return
        call.waited_for = self
        self._waited_calls += 1
        if self._first_arrival is None:
            self._first_arrival = time.monotonic()

    def end(self) -> ReleaseAnswer:
        """End it, and say how it was."""
        now = time.monotonic()
        until = min(now, self.expires)
        first = until if self._first_arrival is None else self._first_arrival
        self.ended.set_result(None)
        return ReleaseAnswer(
            held_ms=(until - self._began) * 1000,
            waited_calls=self._waited_calls,
            longest_wait_ms=(until - first) * 1000,
            expired=self.expires <= now,
        )


def _names(class_names: Iterable[str]) -> frozenset[str]:
    if isinstance(class_names, str):
        raise TypeError(f"class_names: a list of names is wanted, not the text {class_names!r}")
    return frozenset(class_names)


async def _done(future: "Future[None]", seconds: float) -> bool:
    """Whether it is done within that time; it is not cancelled with the one who waits."""
    done, _ = await asyncio.wait({asyncio.wrap_future(future)}, timeout=seconds)
    return bool(done)


def _on_a_loop() -> bool:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True


__all__ = ["Call", "Gate"]
