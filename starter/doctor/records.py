"""The records of updates: whether their chain is whole."""

from taskroll.cluster.records import list_records, verify_records
from taskroll.models.wording import counted

from .findings import Finding, Remedy, ok
from .place import Place


async def check_records(place: Place) -> list[Finding]:
    """Walk the chain. What is found cannot be mended, only looked into: the API server's audit log knows who."""
    wrong = await verify_records(place.cluster, place.namespace)
    if not wrong:
        count = len(await list_records(place.cluster, place.namespace))
        return [ok("records", f"{counted(count, 'record')}, and none was altered")]
    command = place.commands.kubectl("get taskupdates --output yaml --show-managed-fields")
    return [
        Finding(
            check="records",
            state="problem",
            message="the chain of records is broken: somebody altered or deleted what was on record",
            details=wrong,
            remedies=[Remedy(purpose="see who wrote them last", command=command)],
        )
    ]
