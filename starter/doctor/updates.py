"""Updates under way: who holds the fence, and whether what should act for them does."""

from taskroll.cluster.definitions import list_definitions
from taskroll.cluster.fence import read_fence
from taskroll.cluster.fence_state import FENCE_NAME, FenceState
from taskroll.cluster.records import StoredRecord, list_records
from taskroll.models.errors import TamperedState, TaskrollError, UnknownUpdate
from taskroll.models.wording import counted

from .findings import Finding, Remedy, ok
from .place import Place


async def check_updates(place: Place) -> list[Finding]:
    """The fence, then each update that holds it or has a record that is not closed."""
    records = {stored.record.request_id: stored for stored in await list_records(place.cluster, place.namespace)}
    opened = [request_id for request_id, stored in records.items() if not stored.sealed]
    try:
        fence = await read_fence(place.cluster, place.namespace)
    except TamperedState as error:
        return [_tampered(place, error, opened), *[await _update(place, each, records.get(each)) for each in opened]]
    fenced = [each.entry.request_id for each in (*fence.holders, *fence.line)]
    under_way = list(dict.fromkeys([*(each for each in fenced if each not in records or each in opened), *opened]))
    looked_at = [await _update(place, each, records.get(each)) for each in under_way]
    return [_fence(place, fence, records), *(looked_at or [ok("updates", "none is under way")])]


def _tampered(place: Place, error: TamperedState, opened: list[str]) -> Finding:
    remedies: list[Remedy] = []
    if not opened:
        command = place.commands.around_policies(f"delete configmap {FENCE_NAME}")
        remedies.append(Remedy(purpose="take it away: no update is under way, so none holds it", command=command))
    return Finding(check="fence", state="problem", message=error.message, remedies=remedies)


def _fence(place: Place, fence: FenceState, records: dict[str, StoredRecord]) -> Finding:
    if not fence.holders:
        return ok("fence", "nobody holds it")
    details = [
        f"{each.entry.request_id} holds {', '.join(each.entry.exclusive)} since {each.since:%Y-%m-%d %H:%M:%SZ}"
        for each in fence.holders
    ]
    left = [
        each.entry.request_id
        for each in fence.holders
        if each.entry.request_id in records and records[each.entry.request_id].sealed
    ]
    if not left:
        return ok("fence", f"held by {counted(len(fence.holders), 'update')}", details)
    return Finding(
        check="fence",
        state="problem",
        message=f"{', '.join(left)} ended, and the fence is still up",
        details=details,
        remedies=[
            Remedy(purpose="take it down now; else the next round does", command=place.commands.taskroll("reconcile"))
        ],
    )


async def _update(place: Place, request_id: str, stored: StoredRecord | None) -> Finding:
    """Where one update stands that has not ended."""
    try:
        view = await place.observations.view(request_id)
    except UnknownUpdate as error:
        message = f"{request_id} holds the fence or waits for it, and nothing else is known of it: {error.message}"
        remedies = [_release(place, request_id)]
        return Finding(check="updates", state="problem", message=message, remedies=remedies)
    except TaskrollError as error:
        message = f"where {request_id} stands cannot be told: {error.message}"
        return Finding(check="updates", state="warning", message=message)
    status = view.status
    if view.is_orphaned or (status.outcome == "needs_operator" and view.execution != "running"):
        gone = (
            "Temporal no longer has its workflow" if view.execution == "recorded" else f"its workflow {view.execution}"
        )
        return Finding(
            check="updates",
            state="problem",
            message=f"{request_id} has not ended ({status.phase}), and nothing acts for it: {gone}",
            details=[status.message] if status.message else [],
            remedies=[_resume(place, request_id, "have it finished"), _release(place, request_id)],
        )
    if status.outcome == "needs_operator":
        return Finding(
            check="updates",
            state="problem",
            message=f"{request_id} needs an operator: {status.message}",
            remedies=[
                _resume(place, request_id, "try again when the cause is gone"),
                _put_right(place, request_id, await _written_by_others(place, stored, status.message)),
                _release(place, request_id),
            ],
        )
    where = f"{request_id}: {status.phase}" + (f", {status.message}" if status.message else "")
    if view.notice:
        return Finding(check="updates", state="warning", message=f"{where}; {view.notice}")
    return ok("updates", where, [f"waits for {whom}" for whom in status.waiting_for])


def _resume(place: Place, request_id: str, purpose: str) -> Remedy:
    return Remedy(purpose=purpose, command=place.commands.taskroll(f"resume {request_id}"))


def _put_right(place: Place, request_id: str, definitions: list[str]) -> Remedy:
    named = [f"{kind.lower()}/{name}" for kind, _, name in (key.partition("/") for key in definitions)]
    edit = place.commands.around_policies(f"edit {' '.join(named) or 'KIND/NAME'}")
    return Remedy(
        purpose="where somebody else's write is the cause: put it right in spite of the fence, then try again",
        command=f"{edit} && {place.commands.taskroll(f'resume {request_id}')}",
    )


async def _written_by_others(place: Place, stored: StoredRecord | None, message: str) -> list[str]:
    """Keys of the definitions whose content is neither that before the update nor that after it; where there is none,
    of those that the message names: another's labels are a foreign write too."""
    if stored is None:
        return []
    live = await list_definitions(place.cluster, place.namespace)
    changes = [change for change in stored.record.changes if change.definition in live]
    foreign = [
        change.definition
        for change in changes
        if live[change.definition].entry.digest not in (change.before, change.after)
    ]
    return foreign or [change.definition for change in changes if change.definition in message]


def _release(place: Place, request_id: str) -> Remedy:
    command = place.commands.taskroll(f"release-fence {request_id} --reason 'WHY'")
    return Remedy(purpose="leave all as it is and take the fence down", command=command)
