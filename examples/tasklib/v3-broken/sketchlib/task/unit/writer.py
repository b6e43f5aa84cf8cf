"""Writes a line about a text from its numbers."""

from typing import Any, ClassVar

from taskbase import UnitTask

_WORDS = ("calm", "plain", "bright", "loud")


class WriterTask(UnitTask):
    """Turns a vector into a line of words."""

    version: ClassVar[int] = 1

    max_words: int = 6

    def run(self, payload: dict[str, Any]) -> dict[str, Any]:
        """``{"vector": [float, …]}`` → ``{"line": str}``."""
        words = [_WORDS[min(int(value * len(_WORDS)), len(_WORDS) - 1)] for value in payload["vector"]]
        return {"line": " ".join(words[: self.max_words])}
