"""The generations that were prepared for updates and wait for their release."""

import logging
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from .generation import Generation
from .registry import forget_type_caches

_log = logging.getLogger(__name__)

MOST: Final = 4
"""Generations kept prepared. Each is a full set of modules; a caller that dies neither activates nor aborts, so
there must be a bound. The oldest goes first, and costs its update only a load from the revisions."""


@dataclass(frozen=True)
class Prepared:
    """One update's generation, ready beside the current one."""

    request_id: str
    generation: Generation


class PreparedGenerations:
    """By request id, oldest first, at most `MOST`."""

    def __init__(self) -> None:
        self._by_request: dict[str, Prepared] = {}

    def put(self, request_id: str, generation: Generation) -> None:
        """Keep it for the update, in place of what was prepared for it before."""
        self._by_request.pop(request_id, None)
        self._by_request[request_id] = Prepared(request_id, generation)
        while len(self._by_request) > MOST:
            oldest = next(iter(self._by_request))
            _log.warning("dropped the oldest prepared generation", extra={"request_id": oldest})
            self.drop(oldest)

    def get(self, request_id: str) -> Generation | None:
        prepared = self._by_request.get(request_id)
        return None if prepared is None else prepared.generation

    def with_content(self, content_digest: str) -> Generation | None:
        """Any prepared generation with that content, whoever asked for it."""
        return next((p.generation for p in self if p.generation.content_digest == content_digest), None)

    def drop(self, request_id: str) -> bool:
        """Let go of what was prepared for the update; False where nothing was."""
        dropped = self._by_request.pop(request_id, None) is not None
        if dropped:
            forget_type_caches()
        return dropped

    def request_ids(self) -> list[str]:
        return list(self._by_request)

    def __iter__(self) -> Iterator[Prepared]:
        return iter(self._by_request.values())
