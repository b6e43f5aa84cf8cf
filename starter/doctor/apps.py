"""Apps that an update stopped, was to bring back, and did not."""

from datetime import UTC, datetime, timedelta

from taskroll.cluster.app_journal import AppJournal
from taskroll.cluster.app_sources import app_source_name
from taskroll.cluster.records import list_records
from taskroll.cluster.requests import read_request
from taskroll.models.apps import StoppedApp
from taskroll.models.record import UpdateRecord
from taskroll.models.wording import counted

from .findings import Finding, Remedy, ok
from .place import Place

TOLD_FOR = timedelta(days=7)
"""Whoever registers such an app again by hand gives it a new id, so nothing shows that it is back."""


async def check_apps(place: Place) -> list[Finding]:
    """Look through the updates that ended lately."""
    since = datetime.now(UTC) - TOLD_FOR
    findings: list[Finding] = []
    for stored in await list_records(place.cluster, place.namespace):
        record = stored.record
        missing = [app for app in record.apps if app.restored_as is None]
        if not missing or record.ended_at is None or record.ended_at < since:
            continue
        if (await read_request(place.cluster, place.namespace, record.request_id)).policy.restore_apps:
            findings.append(await _not_back(place, record, missing))
    return findings or [ok("apps", "none is missing that an update stopped and was to bring back")]


async def _not_back(place: Place, record: UpdateRecord, missing: list[StoppedApp]) -> Finding:
    journal = await AppJournal(place.cluster, place.namespace, record.request_id).entries()
    sources = {entry.app_id: entry.source for entry in journal}
    return Finding(
        check="apps",
        state="warning",
        message=f"{record.request_id} stopped {counted(len(missing), 'app')}, and could not bring back: "
        "told for a week, since nothing shows that an app was registered again by hand",
        details=[f"{app.app_id}: {app.note or 'it was not tried'}" for app in missing],
        remedies=[
            Remedy(
                purpose=f"get the source of {app.app_id}, to mend it and register it again",
                command=place.commands.kubectl(
                    f"get controllerrevision {app_source_name(source)} --output jsonpath='{{.data.source}}'"
                ),
            )
            for app in missing
            if (source := sources.get(app.app_id))
        ],
    )
