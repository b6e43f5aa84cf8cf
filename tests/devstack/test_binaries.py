"""Where each binary comes from, in which order, and what is refused."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from taskroll.devstack import binaries, cache
from taskroll.devstack.binaries import locate, read_version
from taskroll.devstack.errors import BinaryNotFound, BinaryRefused, DownloadFailed
from taskroll.devstack.versions import BINARIES, ENVTEST_VERSION, BinaryName, Version

MakeFake = Callable[..., Path]

# A `go` that notes its call, takes a moment, and delivers a program of the pinned version.
GO = """#!/bin/sh
echo "$@" >> "$GO_CALLS"
/bin/sleep 0.2
while [ "$1" != -o ]; do shift; done
printf '#!/bin/sh\\necho "etcd Version: 3.6.16"\\n' > "$2"
/bin/chmod 755 "$2"
"""


@pytest.fixture
def refused_downloads(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise DownloadFailed("no network")

    monkeypatch.setattr(binaries, "download_envtest", refuse)
    monkeypatch.setattr(binaries, "download_temporal", refuse)


@pytest.fixture
def go_calls(bare_machine: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Put the fake `go` on PATH; returns the file with its calls."""
    calls = tmp_path / "go-calls"
    monkeypatch.setenv("GO_CALLS", str(calls))
    (bare_machine / "go").write_text(GO)
    (bare_machine / "go").chmod(0o755)
    return calls


@pytest.mark.parametrize(
    ("name", "printed", "expected"),
    [
        ("temporal", "temporal version 1.5.1 (Server 1.29.1, UI 2.42.1)", (1, 5, 1)),
        ("etcd", "etcd Version: 3.6.16\nGit SHA: Not provided\nGo Version: go1.26.8", (3, 6, 16)),
        ("kube-apiserver", "Kubernetes v1.36.3", (1, 36, 3)),
        ("kube-apiserver", "Kubernetes v1.37.0-rc.1+abc", (1, 37, 0)),
        ("temporal", "no version here", None),
    ],
)
def test_version_is_read_from_what_each_program_prints(
    name: str, printed: str, expected: tuple[int, ...] | None
) -> None:
    assert Version.find(printed) == expected


def test_version_order_is_by_number() -> None:
    assert Version(1, 9, 9) < Version(1, 10, 0) < Version(2, 0, 0)


@pytest.mark.parametrize("name", ["etcd", "kube-apiserver"])
def test_search_order(
    name: BinaryName, bare_machine: Path, tmp_path: Path, make_fake: MakeFake, monkeypatch: pytest.MonkeyPatch
) -> None:
    pinned = BINARIES[name].pinned
    # From the last resort to the first: each new one takes precedence over all before it.
    envtest = make_fake(cache.slot("envtest", ENVTEST_VERSION), name, BINARIES[name].oldest)
    assert (locate(name).source, locate(name).path) == ("cache", envtest)
    cached = make_fake(cache.slot(name, pinned), name, pinned)
    assert (locate(name).source, locate(name).path) == ("cache", cached)
    monkeypatch.setenv("KUBEBUILDER_ASSETS", str(tmp_path / "assets"))
    assets = make_fake(tmp_path / "assets", name, pinned)
    assert (locate(name).source, locate(name).path) == ("kubebuilder-assets", assets)
    on_path = make_fake(bare_machine, name, pinned)
    assert (locate(name).source, locate(name).path) == ("path", on_path)
    named = make_fake(tmp_path / "named", name, pinned)
    monkeypatch.setenv(BINARIES[name].env, str(named))
    assert (locate(name).source, locate(name).path) == ("env", named)


def test_temporal_is_not_looked_for_among_kubernetes_assets(
    bare_machine: Path, tmp_path: Path, make_fake: MakeFake, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_fake(tmp_path / "assets", "temporal", "9.9.9")
    monkeypatch.setenv("KUBEBUILDER_ASSETS", str(tmp_path / "assets"))
    make_fake(cache.slot("temporal", BINARIES["temporal"].pinned), "temporal", "1.5.1")
    assert locate("temporal").source == "cache"


def test_named_binary_that_is_too_old_ends_the_search(
    bare_machine: Path, tmp_path: Path, make_fake: MakeFake, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TASKROLL_KUBE_APISERVER_BIN", str(make_fake(tmp_path / "old", "kube-apiserver", "1.29.4")))
    make_fake(cache.slot("kube-apiserver", BINARIES["kube-apiserver"].pinned), "kube-apiserver", "1.36.3")
    with pytest.raises(BinaryRefused, match=r"1\.29\.4, older than 1\.30\.0 \(ValidatingAdmissionPolicy"):
        locate("kube-apiserver")


def test_binary_on_path_that_is_too_old_is_passed_over_and_named(bare_machine: Path, make_fake: MakeFake) -> None:
    old = make_fake(bare_machine, "temporal", "0.13.2")
    make_fake(cache.slot("temporal", BINARIES["temporal"].pinned), "temporal", "1.5.1")
    told: list[str] = []
    assert locate("temporal", told.append).source == "cache"
    assert len(told) == 1
    assert str(old) in told[0]
    assert "0.13.2, older than 1.3.0" in told[0]


def test_binary_that_does_not_tell_its_version_is_refused(tmp_path: Path) -> None:
    broken = tmp_path / "etcd"
    broken.write_text("#!/bin/sh\necho oh no >&2; exit 3\n")
    broken.chmod(0o755)
    with pytest.raises(BinaryRefused, match=r"code 3 and said 'oh no'"):
        read_version(broken)
    with pytest.raises(BinaryRefused, match="does not run"):
        read_version(tmp_path / "missing")


@pytest.mark.usefixtures("bare_machine", "refused_downloads")
def test_without_go_and_network_the_error_lists_what_was_tried_and_the_ways_out() -> None:
    with pytest.raises(BinaryNotFound) as caught:
        locate("kube-apiserver", lambda _: None)
    message = str(caught.value)
    for part in ("TASKROLL_KUBE_APISERVER_BIN", "install Go", "download: no network", "build: no `go` on PATH"):
        assert part in message


@pytest.mark.usefixtures("refused_downloads")
def test_build_is_pinned_and_kept(go_calls: Path) -> None:
    told: list[str] = []
    assert locate("etcd", told.append).source == "build"
    assert locate("etcd", told.append).source == "cache"
    (call,) = go_calls.read_text().splitlines()
    assert call.startswith("build -mod=readonly -buildvcs=false -trimpath -ldflags=")
    assert call.endswith("go.etcd.io/etcd/server/v3")
    assert any("no network" in line for line in told)
    assert any("building from Go modules, usually about" in line for line in told)


@pytest.mark.usefixtures("refused_downloads")
def test_failed_build_leaves_nothing_and_shows_the_compiler_s_words(go_calls: Path, bare_machine: Path) -> None:
    (bare_machine / "go").write_text(GO + "echo missing go.sum entry; exit 1\n")
    with pytest.raises(BinaryNotFound, match=r"missing go\.sum entry"):
        locate("etcd", lambda _: None)
    assert [path.name for path in cache.cache_root().iterdir() if path.is_dir()] == []


@pytest.mark.usefixtures("refused_downloads")
def test_two_at_once_build_once(go_calls: Path) -> None:
    found: list[str] = []
    threads = [threading.Thread(target=lambda: found.append(locate("etcd", lambda _: None).source)) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(found) == ["build", "cache"]
    assert len(go_calls.read_text().splitlines()) == 1
