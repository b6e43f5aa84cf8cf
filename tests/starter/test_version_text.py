"""The version matrix: who runs what, and what deviates."""

from typing import Any

import pytest

from starter.cli.version_text import show_versions
from taskroll.models.versions import ReplicaVersion, VersionReport

OLD, NEW, ODD = ("sha256:" + digit * 64 for digit in "abc")
ECHO, SHOUT = "TaskDefinition/echo", "TaskDefinition/shout"
CONTENTS = {
    NEW: {ECHO: "sha256:" + "2" * 64, SHOUT: "sha256:" + "5" * 64},
    OLD: {ECHO: "sha256:" + "1" * 64, SHOUT: "sha256:" + "5" * 64},
    ODD: {ECHO: "sha256:" + "9" * 64},
}


def replica(service: str, number: int, content: str | None = NEW, epoch: int | None = 5, **more: Any) -> ReplicaVersion:
    return ReplicaVersion(
        service=service,
        pod=f"{service}-{number}",
        address="198.51.100.1:80",
        content_digest=content,
        epoch=epoch,
        **more,
    )


def report(*replicas: ReplicaVersion, epoch: int = 5) -> VersionReport:
    used = {each.content_digest for each in replicas} | {NEW}
    contents = {digest: content for digest, content in CONTENTS.items() if digest in used}
    return VersionReport(
        namespace="probe",
        epoch=epoch,
        content_digest=NEW if epoch else None,
        replicas=list(replicas),
        contents=contents,
        released=CONTENTS[NEW] if epoch else {},
        live=CONTENTS[NEW] if epoch else {},
    )


def shown(capsys: pytest.CaptureFixture[str], what: VersionReport, *, each_replica: bool = False) -> list[str]:
    show_versions(what, each_replica=each_replica)
    return [" ".join(line.split()) for line in capsys.readouterr().out.splitlines()]


def test_all_on_one_release(capsys: pytest.CaptureFixture[str]) -> None:
    what = report(replica("gateway", 0), *(replica("dispatcher", number) for number in range(2000)))
    assert shown(capsys, what) == [
        "probe: release 5 (bbbbbbbb): all 2001 replicas of 2 services run it",
        "",
        "SERVICE REPLICAS RELEASE CONTENT STATE WHICH",
        "dispatcher 2000 5 bbbbbbbb current",
        "gateway 1 5 bbbbbbbb current",
        "",
        "DEFINITION RELEASE 5 RESOURCE DISPATCHER GATEWAY",
        f"{ECHO} 22222222 22222222 22222222 22222222",
        f"{SHOUT} 55555555 55555555 55555555 55555555",
    ]


def test_deviations_are_counted_marked_and_named(capsys: pytest.CaptureFixture[str]) -> None:
    what = report(
        replica("gateway", 0),
        *(replica("dispatcher", number) for number in range(3)),
        replica("dispatcher", 7, OLD, 4, problem="could not load release 5"),
        *(replica("dispatcher", number, None, None, problem="unreachable") for number in (8, 9, 10, 11)),
        replica("manager", 0, ODD, 6),
    )
    lines = shown(capsys, what)
    assert lines[0] == "probe: release 5 (bbbbbbbb): 6 of 10 replicas deviate"
    assert lines[3:8] == [
        "dispatcher 3 5 bbbbbbbb current",
        "dispatcher 4 ? ? silent: unreachable dispatcher-10, dispatcher-11, dispatcher-8 and 1 more",
        "dispatcher 1 4 aaaaaaaa behind: could not load release 5 dispatcher-7",
        "gateway 1 5 bbbbbbbb current",
        "manager 1 6 cccccccc deviates manager-0",
    ]
    assert lines[10] == f"{ECHO} 22222222 22222222 22222222 ×3, 11111111 ×1 !, ? ×4 ! 22222222 99999999 !"
    assert lines[11] == f"{SHOUT} 55555555 55555555 55555555 ×4, ? ×4 ! 55555555 - !"


def test_custom_resources_that_differ_are_marked_and_named(capsys: pytest.CaptureFixture[str]) -> None:
    live = {ECHO: "sha256:" + "7" * 64, "TaskDefinition/new": "sha256:" + "8" * 64}
    lines = shown(capsys, report(replica("gateway", 0)).model_copy(update={"live": live}))
    assert lines[1:3] == [
        f"custom resources not what was released: {ECHO}, {SHOUT}; see: taskroll doctor",
        "custom resources in no release: TaskDefinition/new; see: taskroll doctor",
    ]
    assert lines[8:11] == [
        f"{ECHO} 22222222 77777777 ! 22222222",
        "TaskDefinition/new - 88888888 ! -",
        f"{SHOUT} 55555555 - ! 55555555",
    ]


def test_each_replica_by_itself(capsys: pytest.CaptureFixture[str]) -> None:
    lines = shown(capsys, report(replica("gateway", 0), replica("gateway", 1)), each_replica=True)
    assert lines[3:5] == ["gateway 1 5 bbbbbbbb current gateway-0", "gateway 1 5 bbbbbbbb current gateway-1"]


def test_nothing_there(capsys: pytest.CaptureFixture[str]) -> None:
    assert shown(capsys, report(epoch=0)) == ["probe: no release yet: no replica was found"]


def test_names_are_not_markup(capsys: pytest.CaptureFixture[str]) -> None:
    lines = shown(capsys, report(replica("gateway", 0, None, None, problem="[red]no[/red] [/]")))
    assert any("silent: [red]no[/red] [/]" in line for line in lines)
