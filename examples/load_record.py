"""One answer under load, as the load tells the demo: a line of JSON each."""

import json
from dataclasses import asdict, dataclass
from typing import Self


@dataclass(frozen=True)
class LoadRecord:
    """What became of one request."""

    at: float
    """When it was sent, in seconds since the epoch."""
    seconds: float
    """Until its answer, a retry included."""
    service: str
    pod: str | None = None
    """That answered; None where none did."""
    versions: dict[str, int] | None = None
    """Of the tasks that computed the answer."""
    retried: str | None = None
    """Why it was sent a second time, to another replica."""
    failed: str | None = None
    """Why there was no answer in the end."""

    @property
    def version(self) -> int | None:
        """That of the encoder, which every service uses; None for a request that failed."""
        return self.versions["encoder"] if self.versions else None

    @property
    def is_mixed(self) -> bool:
        """Whether tasks that change together answered in different versions."""
        return bool(self.versions) and self.versions.get("composite", self.version) != self.version

    @property
    def ended_at(self) -> float:
        return self.at + self.seconds

    def line(self) -> str:
        return json.dumps(asdict(self), separators=(",", ":"))

    @classmethod
    def parse(cls, line: str) -> Self:
        """Raises ValueError or TypeError for a line that is none."""
        return cls(**json.loads(line))
