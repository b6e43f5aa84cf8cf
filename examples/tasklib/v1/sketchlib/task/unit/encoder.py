"""Turns a text into numbers."""

from typing import Any, ClassVar

from taskbase import UnitTask


class EncoderTask(UnitTask):
    """Encodes a text as a vector of numbers between 0 and 1."""

    version: ClassVar[int] = 1

    dimensions: int = 4

    def run(self, payload: dict[str, Any]) -> dict[str, Any]:
        """``{"text": str}`` → ``{"vector": [float, …]}``."""
        sums = [0] * self.dimensions
        for position, letter in enumerate(payload["text"]):
            sums[position % self.dimensions] += ord(letter)
        return {"vector": [value % 100 / 100 for value in sums]}
