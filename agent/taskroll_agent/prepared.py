"""The generations that were prepared for updates and wait for their release."""

import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final

from .generation import Generation

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

    def __init__(self, let_go: Callable[[Generation], None]) -> None:
        """`let_go` is told of each generation that is no longer prepared for anyone."""
        self._by_request: dict[str, Prepared] = {}
        self._let_go = let_go

    def put(self, request_id: str, generation: Generation) -> None:
        """Keep it for the update, in place of what was prepared for it before."""
        former = self._by_request.pop(request_id, None)
        self._by_request[request_id] = Prepared(request_id, generation)
        if former is not None:
            self._gone(former)
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
        former = self._by_request.pop(request_id, None)
        if former is None:
            return False
        self._gone(former)
        return True

    def request_ids(self) -> list[str]:
        return list(self._by_request)

    def __iter__(self) -> Iterator[Prepared]:
        return iter(self._by_request.values())

    def _gone(self, former: Prepared) -> None:
        if all(prepared.generation is not former.generation for prepared in self):
            self._let_go(former.generation)
