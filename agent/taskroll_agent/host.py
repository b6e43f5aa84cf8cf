"""The host of an agent: what of a process hangs on task classes besides the registry.

A platform has registries of its own, keeps classes in descriptors, and has live objects that were made from task
classes. Its adapter implements `Host`, so that they change with the registry or not at all.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Protocol

from .contracts import ImportProblem
from .generation import Generation

if TYPE_CHECKING:
    from .registry import Active


class Host(Protocol):
    """What of a process hangs on task classes besides the registry: a platform's own registries and live objects.

    Its methods are called on the agent's event loop.
    """

    async def check(self, after: Generation, before: Generation) -> Sequence[ImportProblem]:
        """In prepare, after the load, changes nothing: can all that lives here be carried over from `before`?

        Returns one problem per instance and field that cannot; then the generation does not count as prepared.
        """
        ...

    def flip(self, after: "Active", before: "Active") -> None:
        """In the flip, no I/O: put registries and live objects on `after`. Look-ups in it answer from `after`.

        All or nothing: where it raises it has put everything back; the registry then stays on `before`, and `activate`
        is refused as ``not_loadable``. Called for each new epoch, also where its content is that of the former one.
        """
        ...

    def live_classes(self) -> Mapping[str, type | None]:
        """Definition key → the class that the platform would use for it now, None where it has lost it.

        Keys that are left out are not compared: a platform need not hold every definition in every process.
        """
        ...

    def live_objects(self) -> Iterable[object]:
        """Objects that hold task classes or instances of them, for the census."""
        ...


__all__ = ["Host"]
