"""Who holds the fence, who waits in line, and whom an update has to wait for. Pure: no clock, no I/O."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from taskroll.models.errors import TamperedState
from taskroll_agent.contracts import DefinitionKey, canonical_json, sha256_digest

from .resources import field_manager

FENCE_NAME = "taskroll-fence"
STALE_AFTER = timedelta(seconds=60)
"""A place in line that was not renewed for so long is given up: its update was terminated. Holders never lapse: a
recovery takes over from a dead one, or an operator takes its fence down."""


class FenceEntry(BaseModel):
    """What an update fences."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    request_id: str
    exclusive: list[str]
    """Keys of the closure: nobody else may change them or build on them."""
    shared: list[str] = Field(default_factory=list[str])
    """Keys that the closure builds on: nobody else may change them."""
    task_classes: list[str] = Field(default_factory=list[str])
    """No instance of these may be created."""

    def overlaps(self, other: FenceEntry) -> bool:
        """Whether the two cannot be under way at once: one changes what the other changes or builds on."""
        mine, theirs = set(self.exclusive), set(other.exclusive)
        return bool(
            mine & theirs
            or mine & set(other.shared)
            or set(self.shared) & theirs
            or set(self.task_classes) & set(other.task_classes)
        )


class Recovery(BaseModel):
    """Who acts for an update whose own workflow is gone."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    token: str
    since: datetime
    """When that recovery began: a later one takes over from an earlier one, never the other way round."""


class Holder(BaseModel):
    """An update that is behind the fence."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    entry: FenceEntry
    since: datetime
    recovery: Recovery | None = None
    """None while the update's own workflow acts for it."""

    @property
    def manager(self) -> str:
        """The field manager under which alone the update may write now."""
        return field_manager(self.entry.request_id, self.recovery.token if self.recovery else "")

    @property
    def probe_class(self) -> str:
        """A task class that no module can define, fenced by this raise of the fence and by no other.

        Who tries to create an instance of it is refused by an API server that sees this raise: one that still goes by
        an earlier fence, even by one of the same update, or by one before a recovery took over, lets it pass.
        """
        since = self.recovery.since if self.recovery else self.since
        return f"taskroll-probe.{self.entry.request_id}.{since:%Y%m%dT%H%M%S%f}"


class Ticket(BaseModel):
    """A place in line."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    entry: FenceEntry
    since: datetime
    renewed_at: datetime


class FenceState(BaseModel):
    """The one fence of a namespace: holders that do not overlap, and the line in the order of arrival."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    holders: list[Holder] = Field(default_factory=list[Holder])
    line: list[Ticket] = Field(default_factory=list[Ticket])

    def holder(self, request_id: str) -> Holder | None:
        """The entry of this update, where it holds the fence."""
        return next((holder for holder in self.holders if holder.entry.request_id == request_id), None)

    def ticket(self, request_id: str) -> Ticket | None:
        """The place of this update, where it waits in line."""
        return next((ticket for ticket in self.line if ticket.entry.request_id == request_id), None)

    def ahead_of(self, entry: FenceEntry, *, first_in_line: bool = False) -> list[str]:
        """Request ids that come first: overlapping holders, then (but for the first) those earlier in line that
        overlap.

        Since nobody passes an overlapping update that is earlier in line, and all entries of an update are taken at
        once, the first in line only ever waits for holders: no deadlock, and no update waits for ever behind later
        ones.
        """
        first = [holder.entry for holder in self.holders]
        for ticket in [] if first_in_line else self.line:
            if ticket.entry.request_id == entry.request_id:
                break
            first.append(ticket.entry)
        return [other.request_id for other in first if other.request_id != entry.request_id and other.overlaps(entry)]

    def without(self, request_id: str) -> FenceState:
        """Neither holding nor waiting."""
        return FenceState(
            holders=[holder for holder in self.holders if holder.entry.request_id != request_id],
            line=[ticket for ticket in self.line if ticket.entry.request_id != request_id],
        )

    def raised(self, entry: FenceEntry, now: datetime) -> FenceState:
        """Holding."""
        rest = self.without(entry.request_id)
        return FenceState(holders=[*rest.holders, Holder(entry=entry, since=now)], line=rest.line)

    def taken_over(self, request_id: str, recovery: Recovery) -> FenceState:
        """Held for the update by the recovery."""
        holders = [
            holder.model_copy(update={"recovery": recovery}) if holder.entry.request_id == request_id else holder
            for holder in self.holders
        ]
        return FenceState(holders=holders, line=self.line)

    def queued(self, entry: FenceEntry, now: datetime, *, first_in_line: bool = False) -> FenceState:
        """Waiting in line: at the place it has, renewed; else at the end, or at the front."""
        known = self.ticket(entry.request_id)
        ticket = Ticket(entry=entry, since=known.since if known else now, renewed_at=now)
        if known is None:
            line = [ticket, *self.line] if first_in_line else [*self.line, ticket]
            return FenceState(holders=self.holders, line=line)
        line = [ticket if other.entry.request_id == entry.request_id else other for other in self.line]
        return FenceState(holders=self.holders, line=line)

    def without_stale(self, now: datetime, keep: str) -> FenceState:
        """Places in line that were given up are gone, but for the one of `keep`, who is asking."""
        line = [
            ticket for ticket in self.line if ticket.entry.request_id == keep or now - ticket.renewed_at <= STALE_AFTER
        ]
        return self if len(line) == len(self.line) else FenceState(holders=self.holders, line=line)

    def data(self) -> dict[str, str]:
        """The ConfigMap's ``data``: the state, its digest, and for the admission policies one key per fenced thing, and
        one per writer.

        What several updates build on is fenced by the first of them.
        """
        state: Any = self.model_dump(mode="json", exclude_none=True)
        data = {"state.json": canonical_json(state).decode(), "digest": sha256_digest(state)}
        for holder in self.holders:
            entry = holder.entry
            data[f"writer.{holder.manager}"] = entry.request_id
            data |= {f"class.{name}": entry.request_id for name in [*entry.task_classes, holder.probe_class]}
            for key in map(DefinitionKey.parse, [*entry.exclusive, *entry.shared]):
                data.setdefault(f"definition.{key.kind}.{key.name}", entry.request_id)
        return data

    @classmethod
    def from_data(cls, data: Mapping[str, str]) -> FenceState:
        """Read the ConfigMap's ``data``.

        Raises:
            TamperedState: where it is not what `data` writes: somebody edited it by hand.
        """
        try:
            state = cls.model_validate(json.loads(data["state.json"]))
            if dict(data) == state.data():
                return state
        except (KeyError, ValueError, ValidationError) as error:
            raise TamperedState(f"ConfigMap/{FENCE_NAME} cannot be read; edited by hand? {error}") from error
        raise TamperedState(f"ConfigMap/{FENCE_NAME}: its keys or its digest do not match its state; edited by hand?")
