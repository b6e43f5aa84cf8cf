"""Old generations go away: when their leases end, when they are aborted, and when they never loaded."""

import linecache
import sys
import weakref
from collections.abc import Callable, Mapping

import pytest

from taskroll_agent import Generation, LoadFailed, Registry

Load = Callable[[Mapping[str, str]], Generation]

RICH = """
    from __future__ import annotations
    import abc, dataclasses, enum, functools, logging, re, typing
    from typing import Annotated, Any, Generic, List, Literal, NamedTuple, Optional, TypeVar, Union
    from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, computed_field, field_validator
    from pydantic.dataclasses import dataclass as pydantic_dataclass

    T = TypeVar("T")
    log = logging.getLogger(__name__)

    class Color(enum.Enum):
        RED = 1

    class Input(BaseModel, Generic[T]):
        model_config = ConfigDict(arbitrary_types_allowed=True)
        color: Color = Color.RED
        next: Optional[Input] = None
        many: List[Union[Color, str]] = []
        value: T | None = None
        annotated: Annotated[int, Field(gt=0)] = 1

        @field_validator("annotated")
        @classmethod
        def check(cls, value: int) -> int:
            return value

        @computed_field
        @property
        def double(self) -> int:
            return 2 * self.annotated

    class Row(NamedTuple):
        a: Optional[Input[int]] = None

    @dataclasses.dataclass
    class Plain:
        row: Optional[Row] = None

    @pydantic_dataclass
    class Checked:
        plain: Optional[Plain] = None

    @functools.singledispatch
    def handle(value: Any) -> int: return 0

    @handle.register
    def _(value: Plain) -> int: return 1

    @functools.lru_cache
    def cached(value: type) -> str: return value.__name__

    adapter = TypeAdapter(List[Optional[Input[str]]])
    hints = typing.get_type_hints(Plain)
    cached(Plain), handle(Plain()), adapter.validate_python([{"value": "x"}]), Input[int](value=1).model_dump_json()
    Input[int].model_json_schema(), re.compile("x")

    class Task(abc.ABC):
        version = %d
        def run(self, value: Optional[Input[int]]) -> Union[Plain, Row]:
            return Plain()
"""


def rich(root: str, version: int) -> dict[str, str]:
    user = f"from {root}.rich import *\nclass User(Task):\n    def late(self):\n        import {root}.rich\n"
    return {f"{root}.rich.Task": RICH % version, f"{root}.user.User": user}


def test_an_old_generation_is_freed_when_its_last_lease_ends(
    load: Load, root: str, collected: Callable[[], None]
) -> None:
    registry = Registry()
    registry.activate(load(rich(root, 1)), epoch=1, release="r", request_id="q")
    context = registry.lease()
    held = context.__enter__()
    old, old_class, old_number = weakref.ref(held), weakref.ref(held.get("User")), held.number
    del held
    registry.activate(load(rich(root, 2)), epoch=2, release="r", request_id="q")
    collected()
    assert old() is not None
    assert [(info.number == old_number, info.current, info.leases) for info in registry.generations()] == [
        (True, False, 1),
        (False, True, 0),
    ]
    context.__exit__(None, None, None)
    del context
    collected()
    assert old() is None
    assert old_class() is None
    assert [info.current for info in registry.generations()] == [True]
    registry.close()


def test_source_lines_of_a_freed_generation_leave_the_line_cache(
    load: Load, root: str, collected: Callable[[], None]
) -> None:
    def lines() -> list[str]:
        return [name for name in linecache.cache if f" {root}." in name]

    registry = Registry()
    first, second = load(rich(root, 1)), load(rich(root, 2))
    assert len(lines()) == 3, "the module that both have the same is there once"
    registry.let_go(first)
    del first
    collected()
    assert len(lines()) == 2
    linecache.checkcache()
    assert len(lines()) == 2
    registry.let_go(second)
    del second
    collected()
    assert lines() == []


def test_a_load_that_fails_leaves_nothing_behind(load: Load, root: str, collected: Callable[[], None]) -> None:
    import taskroll_agent.module_set as module_set

    made: list[weakref.ref[module_set.ModuleSet]] = []
    original = module_set.ModuleSet.__init__

    def note(self: module_set.ModuleSet, *args: object) -> None:
        made.append(weakref.ref(self))
        original(self, *args)  # type: ignore[arg-type]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module_set.ModuleSet, "__init__", note)
        for cause in ("1 / 0", "raise SystemExit", f"from {root}.user import nothing"):
            with pytest.raises(LoadFailed):
                load(rich(root, 1) | {f"{root}.bad.Bad": f"import {root}.user\n{cause}\n"})
    collected()
    assert [ref() for ref in made] == [None] * 3
    assert not [name for name in linecache.cache if f" {root}." in name]


def test_a_function_of_an_old_generation_that_somebody_keeps_keeps_it_counted(
    load: Load, root: str, collected: Callable[[], None]
) -> None:
    registry = Registry()
    registry.activate(load(rich(root, 1)), epoch=1, release="r", request_id="q")
    kept = registry.get("User").late
    registry.activate(load(rich(root, 2)), epoch=2, release="r", request_id="q")
    collected()
    assert len(registry.generations()) == 2, "what can still run is not called gone"
    kept(None)
    del kept
    collected()
    assert len(registry.generations()) == 1
    registry.close()


def test_fifty_swaps_leave_no_modules_and_no_memory(load: Load, root: str, collected: Callable[[], None]) -> None:
    registry = Registry()

    def swap(epoch: int) -> None:
        registry.activate(load(rich(root, epoch)), epoch=epoch, release="r", request_id="q")

    def size() -> int:
        collected()
        import gc

        return len(gc.get_objects())

    for epoch in range(1, 6):
        swap(epoch)
    before = size()
    for epoch in range(6, 56):
        swap(epoch)
    after = size()
    assert len(registry.generations()) == 1
    assert after - before < 500, "objects that stay after fifty swaps"
    assert sys.modules[f"{root}.rich"].Task.version == 55
    registry.close()
