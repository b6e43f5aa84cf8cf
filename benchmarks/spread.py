"""Medians with their spread, and what machine they were measured on."""

import os
import platform
import statistics
from collections.abc import Sequence
from pathlib import Path

from pydantic import BaseModel


class Spread(BaseModel):
    """Of one quantity over several runs."""

    runs: int
    median: float
    low: float
    high: float
    quartiles: tuple[float, float]

    @classmethod
    def of(cls, values: Sequence[float]) -> "Spread":
        """Raises ValueError where there are none."""
        if not values:
            raise ValueError("no runs")
        cuts = statistics.quantiles(values, n=4, method="inclusive") if len(values) > 1 else [values[0]] * 3
        return cls(
            runs=len(values),
            median=statistics.median(values),
            low=min(values),
            high=max(values),
            quartiles=(cuts[0], cuts[2]),
        )

    def text(self, unit: str = "", digits: int = 0) -> str:
        """``123 ms (110–150)``: median, lowest and highest."""
        low, high = f"{self.low:,.{digits}f}", f"{self.high:,.{digits}f}"
        return f"{self.median:,.{digits}f}{unit} ({low}–{high})"


class Machine(BaseModel):
    """Where it was measured."""

    processor: str
    cores: int
    memory_gib: float
    system: str
    python: str
    load_average: float
    """Of the last minute, before the first run."""

    @classmethod
    def here(cls) -> "Machine":
        return cls(
            processor=_processor(),
            cores=os.cpu_count() or 0,
            memory_gib=round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1),
            system=f"{platform.system()} {platform.release()}",
            python=platform.python_version(),
            load_average=round(os.getloadavg()[0], 2),
        )

    def text(self) -> str:
        return f"{self.cores} cores ({self.processor}), {self.memory_gib:g} GiB, {self.system}, Python {self.python}"


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.machine()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.machine())
