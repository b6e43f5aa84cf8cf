"""What a process can truthfully say about itself: read from the live class objects, not from what was asked for."""

import os
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from .contracts import content_digest
from .generation import Generation, LoadedDefinition
from .module_set import SourceLoader

REPLACED: Final = "replaced"
"""Attested in place of a digest where the class in the module is not the one that was loaded: something in the
process has put another in its place. It equals no digest, so no release verifies against it."""


@dataclass(frozen=True)
class Identity:
    """Who attests: one life of one process in one pod."""

    pod: str
    pod_uid: str
    process: str = field(default_factory=lambda: uuid.uuid4().hex)
    started_at: datetime = field(default_factory=lambda: datetime.now(UTC))


def live_digests(generation: Generation, hosted: Mapping[str, type | None] | None = None) -> dict[str, str]:
    """Definition key → digest of the class that stands in its module at this moment.

    `hosted` says which class the host would use for a definition: another than that, and the definition is `REPLACED`;
    so is one that the host still has and the generation has not.
    """
    live = {str(loaded.key): _live_digest(generation, loaded) for loaded in generation}
    for key, cls in (hosted or {}).items():
        if key not in live and cls is None:
            continue
        if key not in live or cls is not generation.definition(key).cls:
            live[key] = REPLACED
    return live


def live_content_digest(generation: Generation, live: dict[str, str]) -> str:
    """The digest over `live`; computed only where it differs from what was loaded, since replicas are asked often."""
    return generation.content_digest if live == generation.digests else content_digest(live)


def resident_memory() -> int | None:
    """Bytes of memory that this process occupies now; None where there is no ``/proc``."""
    try:
        pages = Path("/proc/self/statm").read_text().split()[1]
    except OSError:
        return None
    return int(pages) * os.sysconf("SC_PAGE_SIZE")


def _live_digest(generation: Generation, loaded: LoadedDefinition) -> str:
    module = generation.module_set.table.get(loaded.module)
    if module is None:
        return REPLACED
    loader = vars(module).get("__loader__")
    same_source = isinstance(loader, SourceLoader) and loader.source.digest == loaded.source_digest
    same_class = vars(module).get(loaded.class_name) is loaded.cls
    return loaded.digest if same_source and same_class else REPLACED
