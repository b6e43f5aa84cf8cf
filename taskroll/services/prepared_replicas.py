"""Which processes have prepared an update, so that the commit asks only those that have not."""

import time
from collections.abc import Iterable

from .replica import Replica

KEPT_SECONDS = 120.0
"""How long an answer is trusted: the commit follows prepare by seconds. An older one is asked for again."""

_Process = tuple[str, str, int]


class PreparedReplicas:
    """In memory of one worker: another one, which knows of none, asks all, and that costs calls and nothing else.

    A process is known by its pod's uid and by how often the pod's containers were started again. Where discovery does
    not see that (EndpointSlices, static addresses), a process that was replaced looks the same: it is asked again.
    """

    def __init__(self) -> None:
        self._known: dict[tuple[str, str], tuple[float, set[_Process]]] = {}

    def of(self, namespace: str, request_id: str) -> set[_Process]:
        """The processes that prepared this update lately."""
        self._forget_old()
        return self._known.get((namespace, request_id), (0.0, set[_Process]()))[1]

    def add(self, namespace: str, request_id: str, replicas: Iterable[Replica]) -> None:
        """These answered that they have prepared it."""
        known = self.of(namespace, request_id)
        processes = {process for replica in replicas if (process := process_of(replica)) is not None}
        if not known:
            self._known[namespace, request_id] = (time.monotonic(), processes)
        else:
            known |= processes

    def _forget_old(self) -> None:
        now = time.monotonic()
        self._known = {key: kept for key, kept in self._known.items() if now - kept[0] < KEPT_SECONDS}


def process_of(replica: Replica) -> _Process | None:
    """What tells this process from another one in its place; None where discovery does not see enough."""
    return None if replica.restarts is None else (replica.service, replica.pod_uid, replica.restarts)
