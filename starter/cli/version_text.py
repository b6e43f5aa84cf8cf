"""A version report as two tables: who runs which release, and which version of each definition each service has."""

from __future__ import annotations

from collections import Counter, defaultdict
from typing import TYPE_CHECKING

from starter.cli.output import emit, emit_table
from starter.cli.plan_text import short_digest

if TYPE_CHECKING:
    from rich.text import Text

    from taskroll.models.versions import ReplicaVersion, VersionReport

NAMED = 3
"""How many of the replicas of a deviating group are named."""
ABSENT = "-"


def show_versions(report: VersionReport, *, each_replica: bool) -> None:
    """Write both tables, and a line above that says whether all is well."""
    from rich.text import Text

    from taskroll.models.wording import counted

    deviating = [replica for replica in report.replicas if replica.content_digest != report.content_digest]
    release = f"release {report.epoch} ({short_digest(report.content_digest)})" if report.epoch else "no release yet"
    services = {replica.service for replica in report.replicas}
    verdict = (
        f"{len(deviating)} of {len(report.replicas)} replicas deviate"
        if deviating
        else f"all {counted(len(report.replicas), 'replica')} of {counted(len(services), 'service')} run it"
        if report.replicas
        else "no replica was found"
    )
    style = "bold red" if deviating else "green" if report.replicas else "yellow"
    emit(Text.assemble(f"{report.namespace}: {release}: ", (verdict, style)))
    for what, keys in (("not what was released", report.drifted()), ("in no release", report.unmanaged())):
        if keys and report.epoch:
            emit(Text(f"custom resources {what}: {', '.join(keys)}; see: taskroll doctor", style="yellow"))
    if not report.replicas:
        return
    emit("")
    _show_replicas(report, each_replica=each_replica)
    emit("")
    _show_definitions(report)


def _show_replicas(report: VersionReport, *, each_replica: bool) -> None:
    from rich.text import Text

    groups: dict[tuple[str, ...], list[ReplicaVersion]] = defaultdict(list)
    for replica in sorted(report.replicas, key=lambda each: (each.service, each.pod)):
        own = (replica.pod, replica.address) if each_replica else ()
        groups[replica.service, str(replica.epoch), str(replica.content_digest), replica.problem or "", *own].append(
            replica
        )
    rows: list[tuple[str | Text, ...]] = []
    for replicas in groups.values():
        first = replicas[0]
        state, style = _state(first, report)
        rows.append(
            (
                first.service,
                str(len(replicas)),
                "?" if first.epoch is None else str(first.epoch) if first.epoch else ABSENT,
                "?" if first.content_digest is None else short_digest(first.content_digest),
                Text(state, style=style),
                _names(replicas, all_named=each_replica or state != "current"),
            )
        )
    emit_table(("SERVICE", "REPLICAS", "RELEASE", "CONTENT", "STATE", "WHICH"), rows)


def _show_definitions(report: VersionReport) -> None:
    """Rows: definitions. Columns: the current release, the custom resource, then each service, with counts where its
    replicas differ."""
    from rich.text import Text

    services = sorted({replica.service for replica in report.replicas})
    wanted = report.contents.get(report.content_digest or "", {}) | report.released
    keys = sorted({key for content in (*report.contents.values(), wanted, report.live) for key in content})
    rows: list[tuple[str | Text, ...]] = []
    for key in keys:
        cells = [_cell(report, service, key, wanted.get(key)) for service in services]
        live = short_digest(report.live.get(key)) + (" !" if report.live.get(key) != wanted.get(key) else "")
        rows.append((key, short_digest(wanted.get(key)), Text(live, style="red" if live.endswith("!") else ""), *cells))
    emit_table(("DEFINITION", f"RELEASE {report.epoch}", "RESOURCE", *(service.upper() for service in services)), rows)


def _cell(report: VersionReport, service: str, key: str, wanted: str | None) -> Text:
    from rich.text import Text

    found: Counter[str | None] = Counter()
    silent = 0
    for replica in report.replicas:
        if replica.service != service:
            continue
        if replica.content_digest is None:
            silent += 1
        else:
            found[report.contents.get(replica.content_digest, {}).get(key)] += 1
    parts: list[tuple[str, str]] = []
    for digest, count in found.most_common():
        deviates = digest != wanted
        times = f" ×{count}" if len(found) > 1 or silent else ""
        parts.append((f"{short_digest(digest)}{times}{' !' if deviates else ''}", "red" if deviates else ""))
    if silent:
        parts.append((f"? ×{silent} !", "red"))
    text = Text()
    for number, (part, style) in enumerate(parts):
        text.append(", " if number else "").append(part, style=style)
    return text


def _state(replica: ReplicaVersion, report: VersionReport) -> tuple[str, str]:
    if replica.content_digest is None:
        return f"silent: {replica.problem or 'no answer'}", "red"
    problem = f": {replica.problem}" if replica.problem else ""
    if replica.content_digest == report.content_digest:
        return "current" + problem, "yellow" if problem else "green"
    word = "behind" if replica.epoch is not None and replica.epoch < report.epoch else "deviates"
    return word + problem, "red"


def _names(replicas: list[ReplicaVersion], *, all_named: bool) -> str:
    if not all_named:
        return ""
    more = len(replicas) - NAMED
    return ", ".join(replica.pod for replica in replicas[:NAMED]) + (f" and {more} more" if more > 0 else "")
