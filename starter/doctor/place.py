"""What the checks look at, and how what keeps one from looking becomes a finding."""

from collections.abc import Awaitable
from dataclasses import dataclass

from starter.observation import Observations
from starter.settings import Settings
from starter.temporal_connection import TemporalConnection
from taskroll.cluster.connection import Cluster
from taskroll.models.errors import TamperedState, TaskrollError

from .commands import Commands
from .findings import CheckName, Finding


@dataclass(frozen=True)
class Place:
    """The connections to one namespace and its Temporal."""

    settings: Settings
    cluster: Cluster
    temporal: TemporalConnection
    observations: Observations
    commands: Commands

    @property
    def namespace(self) -> str:
        return self.settings.namespace


async def found(check: CheckName, looking: Awaitable[list[Finding]]) -> list[Finding]:
    """The findings, or one that says why there are none: each error of one check leaves the others standing."""
    try:
        return await looking
    except TamperedState as error:
        return [Finding(check=check, state="problem", message=error.message, details=error.details)]
    except TaskrollError as error:
        return [Finding(check=check, state="skipped", message=error.message, details=error.details)]
