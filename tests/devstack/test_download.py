"""Downloads are checked before anything of them is used."""

from __future__ import annotations

import hashlib
import io
import tarfile
import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from taskroll.devstack import cache, download
from taskroll.devstack.binaries import locate
from taskroll.devstack.download import fetch, unpack_members
from taskroll.devstack.errors import ChecksumMismatch, DownloadFailed
from taskroll.devstack.ports import pick_ports


class _Quiet(SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def site(tmp_path: Path) -> Iterator[tuple[str, Path]]:
    """A web server on loopback: its address and its folder."""
    folder = tmp_path / "site"
    folder.mkdir()
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(_Quiet, directory=str(folder)))
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}", folder
    server.shutdown()
    server.server_close()
    thread.join()


def _archive(path: Path, members: dict[str, str]) -> str:
    with tarfile.open(path, "w:gz") as tar:
        for name, text in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(text)
            tar.addfile(info, io.BytesIO(text.encode()))
    return hashlib.sha512(path.read_bytes()).hexdigest()


def test_wrong_checksum_is_refused_and_the_file_deleted(site: tuple[str, Path], tmp_path: Path) -> None:
    address, folder = site
    (folder / "file").write_text("not what was promised")
    with pytest.raises(ChecksumMismatch, match="expected 00"):
        fetch(f"{address}/file", tmp_path / "got", "00")
    assert not (tmp_path / "got").exists()


def test_error_of_the_server_and_refused_connection_are_download_failures(
    site: tuple[str, Path], tmp_path: Path
) -> None:
    with pytest.raises(DownloadFailed, match="404"):
        fetch(f"{site[0]}/nothing", tmp_path / "got", "00")
    closed = pick_ports({"any": 40000})["any"]
    with pytest.raises(DownloadFailed, match="refused"):
        fetch(f"http://127.0.0.1:{closed}/file", tmp_path / "got", "00")


def test_only_the_named_members_are_unpacked_wherever_they_lie(tmp_path: Path) -> None:
    _archive(tmp_path / "a.tgz", {"x/envtest/etcd": "E", "../../evil": "V", "x/envtest/kubectl": "K"})
    target = tmp_path / "out"
    target.mkdir()
    unpack_members(tmp_path / "a.tgz", ("etcd",), target)
    assert [path.name for path in target.iterdir()] == ["etcd"]
    assert (target / "etcd").stat().st_mode & 0o111
    with pytest.raises(DownloadFailed, match="lacks kube-apiserver"):
        unpack_members(tmp_path / "a.tgz", ("etcd", "kube-apiserver"), target)


def test_one_envtest_download_serves_both_binaries(
    site: tuple[str, Path], bare_machine: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    address, folder = site
    script = "#!/bin/sh\necho {}\n"
    members = {"e/etcd": script.format("etcd Version: 3.6.8"), "e/kube-apiserver": script.format("Kubernetes v1.36.2")}
    digest = _archive(folder / "envtest.tar.gz", members)
    monkeypatch.setattr(download, "ENVTEST_URL", f"{address}/envtest.tar.gz")
    monkeypatch.setattr(download, "ENVTEST_SHA512", {cache.platform_name(): digest})
    etcd = locate("etcd", lambda _: None)
    (folder / "envtest.tar.gz").unlink()
    kube = locate("kube-apiserver", lambda _: None)
    assert [(etcd.version, etcd.source), (kube.version, kube.source)] == [("3.6.8", "download"), ("1.36.2", "cache")]
    assert etcd.path.parent == kube.path.parent
