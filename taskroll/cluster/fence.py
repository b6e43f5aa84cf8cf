"""The fence: one ConfigMap per namespace that says which definitions are under which update. So it is the lock, too."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime, timedelta

from taskroll.models.errors import TakenOver

from .config_maps import read_config_map, string_data, swap_config_map
from .connection import Cluster
from .fence_state import FENCE_NAME, FenceEntry, FenceState, Holder, Recovery
from .rereading import rereading
from .resources import field_manager

# A waiter that asks each second need not write each second: four renewals fit before its place counts as given up.
_RENEW_AFTER = timedelta(seconds=15)


@dataclass(frozen=True)
class FenceAttempt:
    """Whether the update holds the fence, and if not, who comes first.

    Attributes:
        held: It holds the fence.
        probe_class: Where it is held: what an API server that enforces it refuses, see `fence_enforcement`.
        was_held: It held the fence before already.
        ahead: Request ids: overlapping holders, then those ahead in line.
    """

    held: bool
    ahead: list[str] = field(default_factory=list[str])
    probe_class: str = ""
    was_held: bool = False


async def raise_fence(cluster: Cluster, namespace: str, entry: FenceEntry, now: datetime) -> FenceAttempt:
    """Take the fence, or where an overlapping update holds it or came earlier, a place in line.

    A waiter calls this again at least each 60 s, by `now`; else its place is given up. Called again by a holder, it
    answers held. With another closure, since its plan was made anew, a holder goes before all that wait, and where
    another holder is in its way it gives up the old closure and waits at the front: who gives up holds nothing, so
    there is no deadlock either.

    Args:
        cluster: The API server.
        namespace: Of the definitions.
        entry: What to fence.
        now: The time, from the caller's clock. Clocks of workers may differ by some seconds, not by a minute.

    Raises:
        TakenOver: where a recovery acts for the update.
        TamperedState: where the fence was edited by hand.
        ClusterError: `Unavailable`, `Conflict` (retryable).
    """

    async def attempt() -> FenceAttempt:
        source = await read_config_map(cluster, namespace, FENCE_NAME)
        state = FenceState.from_data(string_data(source)) if source else FenceState()
        holder = state.holder(entry.request_id)
        if holder is not None and holder.recovery is not None:
            raise _taken_over(entry.request_id, holder)
        if holder is not None and holder.entry == entry:
            return FenceAttempt(held=True, probe_class=holder.probe_class, was_held=True)
        base = state.without_stale(now, keep=entry.request_id)
        was_holder = holder is not None
        if was_holder:
            base = base.without(entry.request_id)
        ahead = base.ahead_of(entry, first_in_line=was_holder)
        ticket = base.ticket(entry.request_id)
        if not ahead:
            wanted = base.raised(entry, now)
        elif ticket and ticket.entry == entry and base is state and now - ticket.renewed_at < _RENEW_AFTER:
            wanted = state
        else:
            wanted = base.queued(entry, now, first_in_line=was_holder)
        if wanted is not state:
            await swap_config_map(cluster, namespace, FENCE_NAME, source, wanted.data(), request_id=entry.request_id)
        taken = wanted.holder(entry.request_id)
        probe_class = taken.probe_class if taken else ""
        return FenceAttempt(held=not ahead, ahead=ahead, probe_class=probe_class, was_held=was_holder)

    return await rereading(attempt)


async def take_over(cluster: Cluster, namespace: str, request_id: str, recovery: Recovery) -> Holder | None:
    """Hold the fence for an update whose workflow is gone: from now on the recovery alone writes for it.

    A place in line is given up instead. Called again by the same recovery, it answers the same.

    Returns:
        What is held; None where the update holds nothing.

    Raises:
        TakenOver: where a later recovery acts for it.
        TamperedState: where the fence was edited by hand.
        ClusterError: `Unavailable`, `Conflict` (retryable).
    """

    async def attempt() -> Holder | None:
        source = await read_config_map(cluster, namespace, FENCE_NAME)
        if source is None:
            return None
        state = FenceState.from_data(string_data(source))
        holder = state.holder(request_id)
        if holder is not None and holder.recovery == recovery:
            return holder
        if holder is not None and holder.recovery is not None and holder.recovery.since >= recovery.since:
            raise _taken_over(request_id, holder)
        wanted = state.taken_over(request_id, recovery) if holder else state.without(request_id)
        if wanted != state:
            await swap_config_map(cluster, namespace, FENCE_NAME, source, wanted.data(), request_id=request_id)
        return wanted.holder(request_id)

    return await rereading(attempt)


async def check_writer(
    cluster: Cluster, namespace: str, request_id: str, recovery: str = "", *, must_hold: bool = True
) -> None:
    """See that the update holds the fence and that its own workflow, or the recovery of that token, acts for it.

    A look and no lock: what is written after it is refused by the API server where its policies are installed.

    Args:
        must_hold: False where an update that holds nothing may write as well.

    Raises:
        TakenOver: where not.
        TamperedState: where the fence was edited by hand.
    """
    holder = (await read_fence(cluster, namespace)).holder(request_id)
    if holder is None and not must_hold:
        return
    if holder is None or holder.manager != field_manager(request_id, recovery):
        raise _taken_over(request_id, holder)


async def lower_fence(cluster: Cluster, namespace: str, request_id: str, recovery: str = "") -> bool:
    """Take away what the update fences, and its place in line; return whether there was any of it.

    Raises:
        TakenOver: where somebody else acts for the update.
        TamperedState: where the fence was edited by hand.
        ClusterError: `Unavailable`, `Conflict` (retryable).
    """

    async def attempt() -> bool:
        source = await read_config_map(cluster, namespace, FENCE_NAME)
        if source is None:
            return False
        state = FenceState.from_data(string_data(source))
        holder = state.holder(request_id)
        if holder is None and state.ticket(request_id) is None:
            return False
        if holder is not None and holder.manager != field_manager(request_id, recovery):
            raise _taken_over(request_id, holder)
        lowered = state.without(request_id)
        await swap_config_map(cluster, namespace, FENCE_NAME, source, lowered.data(), request_id=request_id)
        return True

    return await rereading(attempt)


async def read_fence(cluster: Cluster, namespace: str) -> FenceState:
    """Who holds it and who waits; empty where it was never raised.

    Raises:
        TamperedState: where it was edited by hand.
    """
    source = await read_config_map(cluster, namespace, FENCE_NAME)
    return FenceState.from_data(string_data(source)) if source else FenceState()


def _taken_over(request_id: str, holder: Holder | None) -> TakenOver:
    if holder is None:
        return TakenOver(f"update {request_id!r} holds no fence any more: somebody else has finished it")
    by = f"a recovery since {holder.recovery.since:%Y-%m-%d %H:%M:%S}" if holder.recovery else "its own workflow"
    return TakenOver(f"the fence of update {request_id!r} is held for it by {by}: whoever else writes for it is late")
