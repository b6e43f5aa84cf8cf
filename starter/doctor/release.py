"""The release pointer, the release that it names, and the revisions that the release names."""

import json
from collections.abc import Mapping

from taskroll.cluster.bounded import settle_bounded
from taskroll.cluster.config_maps import read_config_map
from taskroll.cluster.definitions import list_definitions
from taskroll.cluster.documents import list_documents
from taskroll.cluster.errors import NotFound
from taskroll.cluster.records import list_records
from taskroll.cluster.releases import current_release, read_pointer, read_release
from taskroll.cluster.revisions import read_definition_revision
from taskroll.models.errors import TamperedState, TaskrollError
from taskroll.models.wording import counted
from taskroll_agent.contracts import (
    POINTER_NAME,
    DefinitionKey,
    Release,
    ReleasePointer,
    release_name,
    revision_name,
)

from .findings import Finding, Remedy, ok
from .place import Place


async def check_release(place: Place) -> list[Finding]:
    """Whether pointer and release fit together, and all revisions are there."""
    try:
        pointer = await read_pointer(place.cluster, place.namespace)
        release = await current_release(place.cluster, place.namespace)
    except TamperedState as error:
        return [Finding(check="release", state="problem", message=error.message, remedies=await _restoring(place))]
    if pointer is None or release is None:
        return [await _without_release(place)]
    message = f"release {release.epoch} of {release.request_id}, {counted(len(release.definitions), 'definition')}"
    return [ok("release", message), await _revisions(place, release)]


async def _without_release(place: Place) -> Finding:
    if await list_documents(place.cluster, place.namespace, type="release"):
        return Finding(
            check="release",
            state="problem",
            message=f"ConfigMap/{POINTER_NAME} is gone, and releases are stored: agents stay where they are, and the "
            "next update stops",
            remedies=await _restoring(place),
        )
    live = await list_definitions(place.cluster, place.namespace)
    if not live:
        return ok("release", "nothing has been released yet")
    return Finding(
        check="release",
        state="warning",
        message=f"there is no release yet, and {counted(len(live), 'definition')} live: this cluster ran without "
        "taskroll",
        remedies=[
            Remedy(purpose="see what would be taken", command=place.commands.taskroll("adopt --dry-run")),
            Remedy(purpose="take what is live as the first release", command=place.commands.taskroll("adopt")),
        ],
    )


async def _revisions(place: Place, release: Release) -> Finding:
    """Whether what a replica that starts now would load is there, and is what it should be."""
    lost: dict[str, TaskrollError] = {}

    async def one(item: tuple[str, str]) -> None:
        try:
            await read_definition_revision(place.cluster, place.namespace, DefinitionKey.parse(item[0]), item[1])
        except (NotFound, TamperedState) as error:
            lost[item[0]] = error

    _, failures = await settle_bounded(list(release.digests().items()), one)
    if failures:
        raise failures[0]
    if not lost:
        return ok("revisions", "all of the release are stored, with the digests that it names")
    return Finding(
        check="revisions",
        state="problem",
        message=f"{counted(len(lost), 'revision')} of release {release.epoch} cannot be loaded: replicas that start "
        "now do not come up on it",
        details=[f"{key}: {error.message}" for key, error in sorted(lost.items())],
        remedies=await _rewriting(place, release, lost),
    )


async def _rewriting(place: Place, release: Release, lost: Mapping[str, TaskrollError]) -> list[Remedy]:
    """Storing a revision again needs its content: from the custom resource, or from the commit that it came from."""
    live = await list_definitions(place.cluster, place.namespace)
    remedies: list[Remedy] = []
    forged = [key for key, error in lost.items() if not isinstance(error, NotFound)]
    if forged:
        names = " ".join(revision_name(DefinitionKey.parse(key), release.definitions[key].digest) for key in forged)
        command = place.commands.kubectl(f"delete controllerrevision {names}")
        remedies.append(Remedy(purpose="first take away what stands in their place", command=command))
    at_hand = sorted(key for key in lost if key in live and live[key].entry.digest == release.definitions[key].digest)
    if at_hand:
        command = place.commands.taskroll(f"adopt {' '.join(at_hand)}")
        remedies.append(Remedy(purpose="store them again, from the custom resources", command=command))
    for commit in sorted({release.definitions[key].git_commit or "" for key in lost if key not in at_hand}):
        where = f"from commit {commit}" if commit else "from where their sources are"
        remedies.append(
            Remedy(purpose=f"store the others again, {where}", command=place.commands.taskroll("deploy PACKAGE"))
        )
    return remedies


async def _restoring(place: Place) -> list[Remedy]:
    """Writing the pointer again, for an administrator: to the release that the newest closed record left in place.

    While an update is under way nothing is proposed: it may have committed a release that no record names yet.
    """
    records = await list_records(place.cluster, place.namespace)
    if any(not stored.sealed for stored in records):
        return []
    left = [(stored.record.epoch, stored.record.request_id) for stored in records if stored.record.epoch is not None]
    if not left:
        return []
    name = release_name(*max(left))
    try:
        release = await read_release(place.cluster, place.namespace, name)
    except TaskrollError:
        return []
    data = ReleasePointer(
        epoch=release.epoch, release=name, request_id=release.request_id, content_digest=release.content_digest()
    ).data()
    if await read_config_map(place.cluster, place.namespace, POINTER_NAME) is None:
        literals = " ".join(f"--from-literal={key}={value}" for key, value in data.items())
        command = place.commands.around_policies(f"create configmap {POINTER_NAME} {literals}")
    else:
        patch = json.dumps([{"op": "replace", "path": "/data", "value": data}])
        command = place.commands.around_policies(f"patch configmap {POINTER_NAME} --type=json --patch='{patch}'")
    purpose = f"point to release {release.epoch} again, which the newest closed record left in place"
    return [Remedy(purpose=purpose, command=command)]
