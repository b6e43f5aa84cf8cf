"""What a controlled shutdown does, written down app by app before each act and after it.

A worker may die between any two lines: whoever goes on reads from here which apps were stopped and which are back.
Each line is an immutable document, so an attempt that lost its answer and is repeated finds its line there.
"""

from __future__ import annotations

import contextlib
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal, cast

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from taskroll.models.apps import StoppedApp
from taskroll.models.errors import TamperedState

from .connection import Cluster
from .documents import DocumentConflict, list_documents, write_document

Act = Literal["stopping", "stopped", "left", "registering", "named", "refused", "restored", "lost"]
"""``left``: not stopped by this update: somebody else was faster, or it was not reached. ``named``: the gateway gave it
an id. ``lost``: it does not come back."""


class JournalLine(BaseModel):
    """One line about one app."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    app_id: str
    act: Act
    number: int = 0
    """Of ``stopping``: the how manieth app it is. Of registrations: the how manieth attempt."""
    at: datetime
    source: str | None = None
    """Digest of the app's source, with ``stopping`` and ``restored``."""
    listed: list[str] = Field(default_factory=list[str])
    """With ``registering``: the apps that the gateway listed before."""
    new_id: str | None = None
    reason: str = ""


@dataclass
class AppEntry:
    """All that the journal says of one app."""

    app_id: str
    lines: list[JournalLine] = field(default_factory=list[JournalLine])

    def last(self, *acts: Act) -> JournalLine | None:
        """Its latest line of one of these acts."""
        found = [line for line in self.lines if line.act in acts]
        return max(found, key=lambda line: (line.number, line.at)) if found else None

    @property
    def position(self) -> int:
        stopping = self.last("stopping")
        return stopping.number if stopping else 0

    @property
    def source(self) -> str | None:
        stopping = self.last("stopping")
        return stopping.source if stopping else None

    @property
    def is_ours(self) -> bool:
        """Whether this update stopped it, or may have."""
        return self.last("left") is None

    @property
    def is_over(self) -> bool:
        """Whether it is back, or given up."""
        return self.last("restored", "lost") is not None

    def stopped(self) -> StoppedApp:
        """As the update's status and record show it."""
        stopping = self.last("stopping")
        assert stopping is not None
        end = self.last("restored", "lost")
        note = end.reason if end is not None else ""
        if end is None and self.last("stopped") is None:
            note = "the gateway was asked, and its answer did not come"
        return StoppedApp(
            app_id=self.app_id,
            stopped_at=stopping.at,
            restored_as=end.new_id if end is not None and end.act == "restored" else None,
            note=note,
        )


@dataclass(frozen=True)
class AppJournal:
    """The journal of one update."""

    cluster: Cluster
    namespace: str
    request_id: str

    async def entries(self) -> list[AppEntry]:
        """The apps that were or are being stopped, in that order."""
        found: dict[str, AppEntry] = {}
        documents = await list_documents(self.cluster, self.namespace, type="app-event", request_id=self.request_id)
        for document in documents:
            line = _line(document.data, document.name)
            found.setdefault(line.app_id, AppEntry(line.app_id)).lines.append(line)
        return sorted(found.values(), key=lambda entry: entry.position)

    async def write(self, line: JournalLine) -> None:
        """Add a line. One that an earlier attempt wrote stays as it is, with its own time."""
        with contextlib.suppress(DocumentConflict):
            await write_document(
                self.cluster,
                self.namespace,
                type="app-event",
                name=f"taskroll-app-{line.act}-{self.request_id}-{line.app_id}-{line.number}",
                data=line.model_dump(mode="json"),
                request_id=self.request_id,
            )


async def sources_of_restored_apps(cluster: Cluster, namespace: str) -> dict[str, str]:
    """App id → digest of its source, of the apps that updates registered again under a new id."""
    documents = await list_documents(cluster, namespace, type="app-event")
    lines = [_line(document.data, document.name) for document in documents]
    return {
        line.new_id: line.source
        for line in lines
        if line.act == "restored" and line.new_id is not None and line.source is not None
    }


def _line(data: Any, name: str) -> JournalLine:
    try:
        return JournalLine.model_validate(cast(object, data))
    except ValidationError as error:
        raise TamperedState(f"ControllerRevision/{name} holds no line of a journal: {error}") from error
