"""Custom resources that are not what was released, and those of one module that disagree."""

from collections import defaultdict
from collections.abc import Mapping

from taskroll.cluster.definitions import LiveDefinition, list_definitions
from taskroll.cluster.fence import read_fence
from taskroll.cluster.records import read_record
from taskroll.cluster.releases import current_release
from taskroll.cluster.resources import field_manager
from taskroll.models.errors import TamperedState
from taskroll.models.wording import counted
from taskroll_agent.contracts import Release

from .findings import Finding, Remedy, ok
from .place import Place


async def check_drift(place: Place) -> list[Finding]:
    """Compare each custom resource with the release.

    What an update fences, it changes: what it writes there is no difference, and another one is told without remedies,
    since nobody but the update may mend it.
    """
    live = await list_definitions(place.cluster, place.namespace)
    release = await current_release(place.cluster, place.namespace)
    fenced = await fenced_by(place)
    compared = _against_release(place, live, release, fenced, await _written(place, fenced)) if release else []
    return [*compared, _within_modules(place, live, release, fenced)]


async def fenced_by(place: Place) -> dict[str, str]:
    """Definition key → the update that holds its fence."""
    try:
        fence = await read_fence(place.cluster, place.namespace)
    except TamperedState:
        # Check «fence» tells.
        return {}
    return {key: holder.entry.request_id for holder in fence.holders for key in holder.entry.exclusive}


async def _written(place: Place, fenced: Mapping[str, str]) -> dict[str, str | None]:
    """What the updates that hold a fence write: definition key → digest, None where it is deleted."""
    records = [await read_record(place.cluster, place.namespace, each) for each in sorted(set(fenced.values()))]
    return {change.definition: change.after for stored in records for change in stored.record.changes}


def _against_release(
    place: Place,
    live: dict[str, LiveDefinition],
    release: Release,
    fenced: Mapping[str, str],
    written: Mapping[str, str | None],
) -> list[Finding]:
    released = release.digests()
    changed = [key for key in live if key in released and live[key].entry.digest != released[key]]
    lacking = [key for key in released if key not in live]
    differing = sorted((*changed, *lacking))
    drifted = [key for key in differing if key not in fenced]
    held = [key for key in differing if key in fenced and written.get(key, "") != _digest(live.get(key))]
    unmanaged = sorted(key for key in live if key not in released and key not in fenced)
    findings: list[Finding] = []
    if drifted:
        findings.append(
            Finding(
                check="definitions",
                state="problem",
                message=f"{counted(len(drifted), 'definition')} of release {release.epoch} "
                + ("is" if len(drifted) == 1 else "are")
                + " not what was released; replicas with the agent run what was released",
                details=[_how_it_differs(key, live) for key in drifted],
                remedies=[
                    Remedy(
                        purpose=f"bring back what release {release.epoch} says",
                        command=place.commands.taskroll(f"rollback --to {release.epoch}"),
                    ),
                    _adopt(place, drifted, "take them as they are into the next release"),
                ],
            )
        )
    if held:
        holders = ", ".join(sorted({fenced[key] for key in held}))
        findings.append(
            Finding(
                check="definitions",
                state="warning",
                message=f"{counted(len(held), 'definition')} of release {release.epoch} differ from it, behind the "
                f"fence of {holders}, which changes or restores them",
                details=[_how_it_differs(key, live) for key in held],
            )
        )
    if unmanaged:
        findings.append(
            Finding(
                check="definitions",
                state="warning",
                message=f"{counted(len(unmanaged), 'definition')} in no release: nothing keeps replicas on one version "
                "of them",
                details=[f"{key}{_last_writer(live[key])}" for key in unmanaged],
                remedies=[
                    _adopt(place, unmanaged, "take them into the next release"),
                    *(
                        Remedy(
                            purpose="or delete it",
                            command=place.commands.kubectl(
                                f"delete {key.partition('/')[0].lower()} {live[key].key.name}"
                            ),
                        )
                        for key in unmanaged
                    ),
                ],
            )
        )
    return findings or [ok("definitions", f"the custom resources are what release {release.epoch} says")]


def _within_modules(
    place: Place, live: dict[str, LiveDefinition], release: Release | None, fenced: Mapping[str, str]
) -> Finding:
    """Several custom resources carry one module: a stock service loads the first of them that it sees."""
    sources: defaultdict[str, set[str]] = defaultdict(set)
    members: defaultdict[str, list[str]] = defaultdict(list)
    for key, definition in live.items():
        if key not in fenced:
            sources[definition.content.module].add(str(definition.content.spec.get("sourceCode")))
            members[definition.content.module].append(key)
    split = sorted(module for module, texts in sources.items() if len(texts) > 1)
    if not split:
        return ok("module-sources", "definitions of one module carry the same source")
    keys = [key for module in split for key in members[module]]
    agreed = release is not None and all(key in release.definitions for key in keys)
    drifted = release is not None and any(
        live[key].entry.digest != release.definitions[key].digest for key in keys if key in release.definitions
    )
    remedies = [
        Remedy(purpose="put one source into all of them", command=place.commands.taskroll("deploy PACKAGE")),
    ]
    if release is not None and agreed and drifted:
        command = place.commands.taskroll(f"rollback --to {release.epoch}")
        remedies.insert(0, Remedy(purpose=f"bring back what release {release.epoch} says", command=command))
    return Finding(
        check="module-sources",
        state="problem",
        message=f"definitions of {counted(len(split), 'module')} disagree about its source: services load one of them, "
        "and which is chance",
        details=[f"{module}: {', '.join(members[module])}" for module in split],
        remedies=remedies,
    )


def _adopt(place: Place, keys: list[str], purpose: str) -> Remedy:
    return Remedy(purpose=purpose, command=place.commands.taskroll(f"adopt {' '.join(keys)}"))


def _digest(live: LiveDefinition | None) -> str | None:
    return live.entry.digest if live else None


def _how_it_differs(key: str, live: Mapping[str, LiveDefinition]) -> str:
    return f"{key} was changed{_last_writer(live[key])}" if key in live else f"{key} is gone"


def _last_writer(live: LiveDefinition) -> str:
    """Who wrote last but for taskroll; empty where the API server does not know."""
    own = field_manager("")
    others = [writer for writer in live.writers if not writer.subresource and not writer.manager.startswith(own)]
    if not others:
        return ""
    time = max(writer.time for writer in others)
    names = sorted({writer.manager for writer in others if writer.time == time})
    return f"; last written at {time} by {' or '.join(names)}"
