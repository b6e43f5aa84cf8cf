"""Temporal's time-skipping test server, for tests that wait for days: found, downloaded, or made of its jars."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
from importlib.resources import as_file, files
from importlib.resources.abc import Traversable
from pathlib import Path

from taskroll.devstack import cache
from taskroll.devstack.download import sdk_download
from taskroll.devstack.errors import BinaryNotFound, BuildFailed, ChecksumMismatch, DownloadFailed
from taskroll.devstack.filelock import locked
from taskroll.devstack.progress import Say, say, ticking
from taskroll.devstack.versions import TEST_SERVER_VERSION

NAME = "temporal-test-server"
ENV = "TASKROLL_TEMPORAL_TEST_SERVER_BIN"
# 32 MB of jars; 5 s where it was measured.
_MAVEN_TIMEOUT = 600.0


def time_skipping_server(tell: Say = say) -> Path:
    """Return what to give as `test_server_existing_path` to `WorkflowEnvironment.start_time_skipping`.

    Looked for in `TASKROLL_TEMPORAL_TEST_SERVER_BIN`, PATH and the cache, then downloaded by the SDK (a native
    program), then fetched as jars by Maven (needs Java). Raises BinaryNotFound with what was tried.
    """
    if named := os.environ.get(ENV):
        if not os.access(named, os.X_OK):
            raise BinaryNotFound(f"{ENV} names {named}, which is no executable file")
        return Path(named).absolute()
    if on_path := shutil.which(NAME):
        return Path(on_path).absolute()
    target = cache.slot(NAME, TEST_SERVER_VERSION)
    with locked(
        cache.cache_root() / f"{NAME}.lock", lambda: tell(f"{NAME}: another process is getting it, waiting for that")
    ):
        if not (target / NAME).is_file():
            _obtain(target, tell)
    return target / NAME


def _obtain(target: Path, tell: Say) -> None:
    tell(f"{NAME} {TEST_SERVER_VERSION}: not named by {ENV}, not on PATH, not in {cache.cache_root()}")
    refusals: list[str] = []
    for way, fill in (("the SDK's download", _download), ("Maven", _assemble)):
        try:
            with cache.filling(target) as draft:
                fill(draft)
            return
        except (DownloadFailed, BuildFailed) as refusal:
            refusals.append(f"{way}: {refusal}")
            tell(f"{NAME}: {refusals[-1]}")
    raise BinaryNotFound(
        f"no {NAME}. Ways out: name one by {ENV}, or install Java and Maven. What was tried:\n"
        + "\n".join(f"- {refusal}" for refusal in refusals)
    )


def _download(draft: Path) -> None:
    sdk_download("test-server", f"v{TEST_SERVER_VERSION}", draft / NAME)


def _assemble(draft: Path) -> None:
    """Fetch the jars with Maven, check each against our list, and put the launcher beside them."""
    maven = shutil.which("mvn")
    if maven is None or shutil.which("java") is None:
        raise BuildFailed("no `mvn` or no `java` on PATH")
    source = files("taskroll.devstack") / "testserver"
    with as_file(source / "pom.xml") as pom, ticking(f"fetching {NAME} {TEST_SERVER_VERSION} with Maven"):
        command = [maven, "--quiet", "--batch-mode", "--strict-checksums", f"--file={pom}"]
        goal = ["dependency:copy-dependencies", "-DincludeScope=runtime", f"-DoutputDirectory={draft / 'jars'}"]
        try:
            result = subprocess.run(  # noqa: S603 - the command is ours
                [*command, *goal], capture_output=True, text=True, timeout=_MAVEN_TIMEOUT, check=False
            )
        except subprocess.TimeoutExpired:
            raise BuildFailed(f"mvn took over {_MAVEN_TIMEOUT:.0f} s") from None
    if result.returncode != 0:
        raise BuildFailed(
            f"mvn ended with code {result.returncode}:\n{(result.stdout + result.stderr).strip()[-1500:]}"
        )
    verify_jars(draft / "jars", source / "jars.sha256")
    launcher = draft / NAME
    launcher.write_text((source / "launch.sh").read_text())
    launcher.chmod(0o755)


def verify_jars(folder: Path, checksums: Traversable) -> None:
    """Raise ChecksumMismatch unless the folder holds exactly the listed jars (`sha256sum` format)."""
    expected = {name: digest for digest, name in (line.split() for line in checksums.read_text().splitlines())}
    found = {jar.name: hashlib.sha256(jar.read_bytes()).hexdigest() for jar in folder.iterdir()}
    if wrong := sorted(name for name in expected.keys() | found.keys() if expected.get(name) != found.get(name)):
        raise ChecksumMismatch(f"these jars are not the ones pinned in {checksums.name}: {', '.join(wrong)}")
