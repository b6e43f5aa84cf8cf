"""Downloading the binaries, so that most machines need no Go: refused within seconds where the network is closed."""

from __future__ import annotations

import hashlib
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

import httpx

from taskroll.devstack.cache import platform_name
from taskroll.devstack.errors import ChecksumMismatch, DownloadFailed
from taskroll.devstack.progress import Say, ticking
from taskroll.devstack.versions import ENVTEST_SHA512, ENVTEST_URL, ENVTEST_VERSION, Version

_CONNECT_TIMEOUT, _READ_TIMEOUT = 3.0, 30.0
# The SDK's download has no time-out of its own. 100 MB at 500 kB/s.
_SDK_TIMEOUT = 200.0
_SDK_SOURCE = "https://temporal.download"
_ENVTEST_MEMBERS = ("etcd", "kube-apiserver")


def download_envtest(folder: Path, say: Say) -> None:
    """Put etcd and kube-apiserver of the pinned envtest release into `folder`. Raises DownloadFailed."""
    system, architecture = platform_name()
    expected = ENVTEST_SHA512.get((system, architecture))
    if expected is None:
        raise DownloadFailed(f"no envtest checksum is pinned for {system}/{architecture}")
    url = ENVTEST_URL.format(version=ENVTEST_VERSION, os=system, arch=architecture)
    with tempfile.TemporaryDirectory(dir=folder.parent) as scratch:
        archive = Path(scratch, "envtest.tar.gz")
        say(f"downloading envtest {ENVTEST_VERSION}")
        fetch(url, archive, expected)
        unpack_members(archive, _ENVTEST_MEMBERS, folder)


def fetch(url: str, target: Path, sha512: str) -> None:
    """Download a file. Raises ChecksumMismatch when it is not the expected one, DownloadFailed for all else."""
    digest = hashlib.sha512()
    timeout = httpx.Timeout(_READ_TIMEOUT, connect=_CONNECT_TIMEOUT)
    try:
        with (
            httpx.stream("GET", url, follow_redirects=True, timeout=timeout) as response,
            target.open("wb") as stream,
            ticking(f"downloading {url.rsplit('/', 1)[-1]}"),
        ):
            response.raise_for_status()
            for chunk in response.iter_bytes():
                digest.update(chunk)
                stream.write(chunk)
    except httpx.HTTPError as error:
        raise DownloadFailed(f"{httpx.URL(url).host}: {error or type(error).__name__}") from error
    if digest.hexdigest() != sha512:
        target.unlink()
        raise ChecksumMismatch(f"{url}: SHA-512 is {digest.hexdigest()}, expected {sha512}; the file was deleted")


def unpack_members(archive: Path, names: tuple[str, ...], folder: Path) -> None:
    """Take the named executables out of a tar archive, whatever folder they lie in there. Raises DownloadFailed."""
    wanted = set(names)
    with tarfile.open(archive) as tar:
        for member in tar:
            name = Path(member.name).name
            content = tar.extractfile(member) if name in wanted and member.isfile() else None
            if content is not None:
                target = folder / name
                target.write_bytes(content.read())
                target.chmod(0o755)
                wanted.discard(name)
    if wanted:
        raise DownloadFailed(f"{archive.name} lacks {', '.join(sorted(wanted))}")


def download_temporal(version: Version, target: Path, say: Say) -> None:
    """Have the Python SDK download the Temporal CLI and put it at `target`. Raises DownloadFailed."""
    say(f"downloading temporal {version} by way of the Python SDK")
    sdk_download("dev-server", f"v{version}", target)


def sdk_download(kind: str, version: str, target: Path) -> None:
    """Download what the SDK knows: kind `dev-server` (the CLI) or `test-server`. Raises DownloadFailed.

    It happens in a process of its own: the SDK can only download by starting the server, has no time-out, and after a
    refusal it can abort the interpreter at its end.
    """
    try:
        httpx.head(_SDK_SOURCE, timeout=_CONNECT_TIMEOUT)
    except httpx.HTTPError as error:
        raise DownloadFailed(f"{httpx.URL(_SDK_SOURCE).host}: {error or type(error).__name__}") from error
    with tempfile.TemporaryDirectory(dir=target.parent) as scratch, ticking(f"downloading Temporal's {kind}"):
        arguments = [sys.executable, "-m", "taskroll.devstack.sdk_download", kind, version, scratch]
        try:
            result = subprocess.run(  # noqa: S603 - the command is ours
                arguments, capture_output=True, text=True, timeout=_SDK_TIMEOUT, check=False
            )
        except subprocess.TimeoutExpired:
            raise DownloadFailed(f"the SDK's download took over {_SDK_TIMEOUT:.0f} s") from None
        found = [path for path in Path(scratch).iterdir() if path.is_file()]
        if result.returncode != 0 or len(found) != 1:
            raise DownloadFailed(result.stderr.strip().splitlines()[-1] if result.stderr.strip() else "nothing arrived")
        found[0].chmod(0o755)
        found[0].replace(target)
