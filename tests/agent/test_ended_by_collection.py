"""The garbage collector closes a generator, and with it ends its call or its lease, in the middle of anything."""

import sys
import threading
from collections.abc import Callable, Generator, Iterator, Mapping
from types import FrameType, ModuleType
from typing import Any

import pytest

from taskroll_agent import Gate, Generation, Registry, gate, registry, type_caches

Load = Callable[[Mapping[str, str]], Generation]
PATIENCE = 60.0


def in_thread(work: Callable[[], None]) -> None:
    """Run it where a deadlock fails the test and does not stop it."""
    failures: list[BaseException] = []

    def run() -> None:
        try:
            work()
        except BaseException as error:
            failures.append(error)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    thread.join(PATIENCE)
    assert not thread.is_alive(), "the thread waits for a lock that it has itself"
    if failures:
        raise failures[0]


def close_at_each_line(
    modules: list[ModuleType], begin: Callable[[], tuple[Generator[Any], Callable[[], None]]]
) -> int:
    """Run the work again and again; each time the generator is closed one line of these modules later."""
    files = {module.__file__ for module in modules}
    lines = 0
    while True:
        generator, work = begin()
        left = lines

        def trace(frame: FrameType, event: str, _: object, generator: Generator[Any] = generator) -> Any:
            nonlocal left
            if event == "line" and frame.f_code.co_filename in files:
                if left == 0 and not generator.gi_running:
                    generator.close()
                left -= 1
            return trace

        sys.settrace(trace)
        try:
            work()
        finally:
            sys.settrace(None)
        if left >= 0:
            return
        lines += 1


def test_a_call_ends_at_any_line_of_the_gate() -> None:
    def begin() -> tuple[Generator[Any], Callable[[], None]]:
        made = Gate()

        def stream() -> Iterator[int]:
            with made.call(["A"]):
                yield 1

        generator = stream()
        next(generator)
        hold = made._begin(gate.HoldRequest(request_id="up", classes=["A"], seconds=0, expires=30))

        def work() -> None:
            with made.call(["B"]):
                assert made.holding == ["up"]
                made._cancel(hold)
            made.release("other")
            made._begin(gate.HoldRequest(request_id="two", classes=[], seconds=0, expires=30))
            generator.close()
            assert hold.drained.done()
            assert made._calls == set()
            assert [one.waits_for for one in made._holds.values()] == [set(), set()]

        return generator, work

    in_thread(lambda: close_at_each_line([gate], begin))


def test_a_lease_ends_at_any_line_of_the_registry(load: Load, root: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(type_caches, "_forget_generic_models", lambda _: None)  # it has too many lines
    made = Registry()
    one, two = (load({f"{root}.m.Task": f"class Task:\n    version = {n}\n"}) for n in (1, 2))

    def flip(generation: Generation) -> None:
        made.activate(generation, epoch=made.active.epoch + 1, release="r", request_id="q")

    def begin() -> tuple[Generator[Any], Callable[[], None]]:
        flip(one)

        @made.leased
        def stream() -> Iterator[int]:
            yield made.get("Task").version

        generator: Any = stream()
        assert next(generator) == 1

        def work() -> None:
            with made.lease():
                assert made.get("Task").version == 1
                flip(two)
                assert made.get("Task").version == 1
                made.generations()
            assert made.get("Task").version == 2
            generator.close()
            assert [(info.number, info.leases) for info in made.generations() if info.leases] == []

        return generator, work

    in_thread(lambda: close_at_each_line([registry, type_caches], begin))
    made.close()


def test_a_hold_misses_no_call_that_ends_while_another_thread_has_the_lock() -> None:
    made = Gate()
    stop = threading.Event()

    def calls() -> None:
        while not stop.is_set():
            with made.call(["A"]):
                pass

    callers = [threading.Thread(target=calls) for _ in range(8)]
    for caller in callers:
        caller.start()
    for n in range(200):
        hold = made._begin(gate.HoldRequest(request_id=f"up-{n}", classes=["A"], seconds=0, expires=30))
        hold.drained.result(PATIENCE)
        made.release(f"up-{n}")
    stop.set()
    for caller in callers:
        caller.join()
    assert made._calls == set()
