"""A replica: one process of a service, as discovery found it."""

from datetime import datetime
from typing import Literal

from pydantic import BaseModel, ConfigDict

UNKNOWN_UID_PREFIX = "static:"
"""Starts the uid of a replica whose pod is not known before it attests."""

ProblemReason = Literal[
    "unreachable",
    "not_ready",
    "process_ended",
    "unauthorised",
    "invalid",
    "refused",
    "other_pod",
    "stale",
    "other_content",
    "rollout",
    "unverified",
]
"""Why a replica does not count; stable, for code to branch on.

``unreachable``   it did not answer, or it answered that it cannot reach the API server
``not_ready``     the same, and Kubernetes does not call it ready: it may still be starting
``process_ended`` its process ended while it loaded the new classes
``unauthorised``  it does not take our token
``invalid``       it answered something else than the contract says
``refused``       it will not carry out the call
``other_pod``     another pod answers at that address
``stale``         it runs an earlier release
``other_content`` it runs the right release or a later one, with other classes than it should
``rollout``       the rollout of its Deployment did not end, or is not let begin
``unverified``    its service has no way to show what it runs
"""


class Replica(BaseModel):
    """One process of a service. Found, not asked: nothing here comes from the process itself."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    service: str
    """Name of the service in ``services.yaml``."""
    pod: str
    """Name of the pod; for a static address, the address."""
    pod_uid: str
    """Uid of the pod; ``static:<address>`` where it is not known before the replica attests."""
    address: str | None
    """IP address or host name; None where it has none yet."""
    port: int | None
    """None where the named port was not found."""
    ready: bool | None
    """What Kubernetes says of its readiness; None where it says nothing, as of a static address."""
    terminating: bool = False
    obstacle: str | None = None
    """Why it cannot be called, where address or port is missing."""
    namespace: str = ""
    """That it was looked for in."""
    created_at: datetime | None = None
    """Of the pod, by the API server's clock, whole seconds; None where discovery sees no pods."""
    ready_since: datetime | None = None
    """When the pod became ready, by the kubelet's clock, whole seconds; None where it is not ready."""
    restarted_for: int = 0
    """The epoch that the pod's Deployment was restarted for when the pod was made; 0 where it was not by taskroll."""
    restarts: int | None = None
    """How often its containers were started again in the same pod; None where discovery does not see it."""
    waiting: str | None = None
    """What a container of the pod waits for, such as ``CrashLoopBackOff``."""

    @property
    def is_uid_known(self) -> bool:
        return not self.pod_uid.startswith(UNKNOWN_UID_PREFIX)

    @property
    def endpoint(self) -> str:
        """``host:port`` as in a URL, IPv6 in brackets; ``-`` where it cannot be called."""
        if self.address is None or self.port is None:
            return "-"
        return host_port(self.address, self.port)

    def __str__(self) -> str:
        return f"{self.service}/{self.pod} ({self.endpoint})"


class ReplicaProblem(BaseModel):
    """Why one replica does not count."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    service: str
    pod: str
    endpoint: str
    reason: ProblemReason
    message: str
    """One sentence, at most 400 characters."""
    epoch: int | None = None
    """The epoch that it runs, where it said so."""

    def __str__(self) -> str:
        return f"{self.service}/{self.pod} ({self.endpoint}): {self.reason}: {self.message}"


def host_port(address: str, port: int) -> str:
    """``host:port`` as it stands in a URL: IPv6 addresses in brackets."""
    return f"[{address}]:{port}" if ":" in address else f"{address}:{port}"
