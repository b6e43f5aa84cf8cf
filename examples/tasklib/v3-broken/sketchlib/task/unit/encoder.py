"""Turns a text into numbers."""

from typing import Any, ClassVar, Literal

from taskbase import UnitTask


class EncoderTask(UnitTask):
    """Encodes a text as a vector of numbers between 0 and 1."""

    version: ClassVar[int] = 3

    dimensions: int = 4
    unit: Literal["letter", "word"] = "letter"

    def run(self, payload: dict[str, Any]) -> dict[str, Any]:
        """``{"text": str}`` → ``{"vector": [float, …], "unit": str}``."""
        pieces = payload["text"].split() if self.unit == "word" else payload["text"]
        sums = [0] * self.dimensions
        for position, piece in enumerate(pieces):
            sums[position % self.dimensions] += sum(map(ord, piece))
        return {"vector": [value % 100 / 100 for value in sums], "unit": self.unit}
