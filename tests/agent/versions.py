"""A registry to flip back and forth, for tests of what a call sees."""

from collections.abc import Callable, Mapping

from taskroll_agent import Generation, Registry

Load = Callable[[Mapping[str, str]], Generation]


class Versions:
    """A registry with two generations to flip between."""

    def __init__(self, load: Load, root: str) -> None:
        self.registry = Registry()
        self.one, self.two = (load({f"{root}.m.Task": f"class Task:\n    version = {n}\n"}) for n in (1, 2))
        self.flip(self.one)

    def flip(self, generation: Generation) -> None:
        self.registry.activate(generation, epoch=self.registry.active.epoch + 1, release="r", request_id="q")

    def version(self) -> int:
        return self.registry.get("Task").version

    def leases(self) -> dict[int, int]:
        return {info.number: info.leases for info in self.registry.generations() if info.leases}
