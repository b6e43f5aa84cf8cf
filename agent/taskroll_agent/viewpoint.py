"""Which set of modules running code looks at: that of its lease, of the load it is part of, or the current one.

A `ContextVar` carries it, so it goes along across awaits, into tasks and into `asyncio.to_thread`. What it carries is a
small object that is emptied when the lease ends. A task that outlives the call which started it therefore falls back to
the current generation and keeps no old one in memory.
"""

from contextvars import ContextVar
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .module_set import ModuleSet


class View:
    """One answer to «which modules»; `modules` is None once it has ended. `outer` is the view around it."""

    __slots__ = ("modules", "outer")

    def __init__(self, modules: "ModuleSet | None", outer: "View | None") -> None:
        self.modules = modules
        self.outer = outer


VIEW: ContextVar[View | None] = ContextVar("taskroll_agent_view", default=None)
