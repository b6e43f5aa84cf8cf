"""Orders lines by their length. No other task uses it: an update of the encoder leaves it alone."""

from typing import Any, ClassVar

from taskbase import UnitTask


class RankerTask(UnitTask):
    """Sorts candidates, the shortest first."""

    version: ClassVar[int] = 1

    keep: int = 3

    def run(self, payload: dict[str, Any]) -> dict[str, Any]:
        """``{"lines": [str, …]}`` → ``{"lines": [str, …]}``."""
        return {"lines": sorted(payload["lines"], key=len)[: self.keep]}
