"""A generation: one loaded set of the modules of a release. An old and a new one stand side by side in a process."""

import itertools
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType, ModuleType
from typing import Any

from .contracts import DefinitionKey, content_digest
from .errors import DefinitionNotFound
from .module_set import ModuleSet

_numbers = itertools.count(1)


@dataclass(frozen=True)
class LoadedDefinition:
    """One definition of a generation: its class, and the digest of the revision that the class was loaded from."""

    key: DefinitionKey
    digest: str
    module: str
    source_digest: str
    """SHA-256 of the module's source, in hex."""
    class_name: str
    """The name under which the module has the class; `cls.__name__` may be another."""
    cls: type[Any]
    task_class_name: str
    """Of a descriptor, the task class that it describes the execution of; of a task, its own name."""
    spec: Mapping[str, Any]
    """The definition's spec without its source."""


class Generation:
    """Classes by name, as one consistent set. Immutable; safe to use from any thread."""

    def __init__(self, modules: ModuleSet, definitions: Iterable[LoadedDefinition]) -> None:
        self.number = next(_numbers)
        """Counts the generations of this process; the empty ones before the first release among them."""
        self.module_set = modules
        # Every function of these modules keeps its module set alive. Through this it keeps the generation as well, so
        # that one counts as standing for as long as any of its code can run.
        modules.generation = self
        self.leases: set[object] = set()
        """The leases on it. A set, and no count under a lock: the garbage collector may end that of a generator at any
        moment and on any thread, also in the middle of taking or counting them."""
        self.attachments: dict[str, Any] = {}
        """What a host has made for this generation and keeps for as long as it stands, by a name of the host's own."""
        self._definitions = {str(loaded.key): loaded for loaded in definitions}
        self.digests: Mapping[str, str] = MappingProxyType({k: v.digest for k, v in self._definitions.items()})
        """Definition key → digest."""
        self.content_digest = content_digest(dict(self.digests))
        """Over `digests`; equal to that of the release it was loaded for."""
        self._by_class: dict[str, list[LoadedDefinition]] = {}
        for loaded in self._definitions.values():
            self._by_class.setdefault(loaded.class_name, []).append(loaded)

    @classmethod
    def empty(cls) -> "Generation":
        """The generation of a process that has loaded no release."""
        return cls(ModuleSet({}), ())

    @property
    def modules(self) -> Mapping[str, ModuleType]:
        """Module name → module, the packages that hold them included."""
        return MappingProxyType(self.module_set.table)

    def get(self, class_name: str) -> type[Any]:
        """Return the class of that name.

        Raises:
            DefinitionNotFound: where no definition has it, or several do: then ask for one by its key.
        """
        found = self._by_class.get(class_name, [])
        if len(found) == 1:
            return found[0].cls
        if found:
            keys = ", ".join(str(loaded.key) for loaded in found)
            raise DefinitionNotFound(f"{class_name} is the class of several definitions: {keys}")
        raise DefinitionNotFound(f"the release has no class {class_name}")

    def definition(self, key: DefinitionKey | str) -> LoadedDefinition:
        """Return the definition with that key, given as such or as ``Kind/name``.

        Raises:
            DefinitionNotFound: where the release has none.
        """
        try:
            return self._definitions[str(key)]
        except KeyError:
            raise DefinitionNotFound(f"the release has no definition {key}") from None

    def __iter__(self) -> Iterator[LoadedDefinition]:
        return iter(self._definitions.values())

    def __len__(self) -> int:
        return len(self._definitions)

    def __repr__(self) -> str:
        return f"<Generation {self.number}: {len(self)} definitions, {self.content_digest[:15]}…>"
