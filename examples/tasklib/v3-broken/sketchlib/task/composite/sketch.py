"""Sketches a text: encodes it, then writes a line about it."""

from typing import Any, ClassVar

from sketchlib.task.unit.encoder import EncoderTask, EncodingPlan
from sketchlib.task.unit.writer import WriterTask
from taskbase import CompositeTask


class SketchTask(CompositeTask):
    """Encoder and writer, one after the other."""

    version: ClassVar[int] = 3

    dimensions: int = 4

    def invoke(self, payload: dict[str, Any]) -> dict[str, Any]:
        """``{"text": str}`` → ``{"line": str, "versions": {task: version}}``."""
        encoded = EncoderTask(**EncodingPlan(self.dimensions)).invoke({"text": payload["text"]})
        written = WriterTask().invoke({"vector": encoded["vector"]})
        versions = {"composite": self.version, "encoder": encoded["version"], "writer": written["version"]}
        return {"line": f"{written['line']} (by {encoded['unit']})", "versions": versions}
