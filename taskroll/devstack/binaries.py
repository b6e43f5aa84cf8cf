"""Finding each binary: variable, PATH, KUBEBUILDER_ASSETS, cache, download, build; the first that serves is taken."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable, Iterable
from pathlib import Path

from taskroll.devstack import cache
from taskroll.devstack.build import build
from taskroll.devstack.components import Located
from taskroll.devstack.download import download_envtest, download_temporal
from taskroll.devstack.errors import BinaryNotFound, BinaryRefused, BuildFailed, DownloadFailed
from taskroll.devstack.filelock import locked
from taskroll.devstack.progress import Say, say
from taskroll.devstack.versions import BINARIES, ENVTEST_VERSION, BinaryName, BinarySpec, Version

_VERSION_TIMEOUT = 20.0
_IN_ENVTEST: tuple[BinaryName, ...] = ("etcd", "kube-apiserver")


def locate_all(names: Iterable[BinaryName], tell: Say = say) -> list[Located]:
    """Find all binaries, one after the other (a build uses every core). Raises as `locate`."""
    return [locate(name, tell) for name in names]


def locate(name: BinaryName, tell: Say = say) -> Located:
    """Find one binary, downloading or building it if need be; each step that takes long is announced on `tell`.

    Raises BinaryRefused if the file named by its environment variable does not serve, BinaryNotFound if nothing does.
    """
    spec = BINARIES[name]
    if named := os.environ.get(spec.env):
        return _checked(spec, Path(named), "env")
    refusals: list[str] = []
    for source, path in _installed(spec):
        try:
            return _checked(spec, path, source)
        except BinaryRefused as refusal:
            refusals.append(str(refusal))
            tell(f"{refusal}; looking further")
    if found := _cached(spec):
        return found
    with locked(
        cache.cache_root() / f"{name}.lock", lambda: tell(f"{name}: another process is getting it, waiting for that")
    ):
        # The other process may have done the work.
        return _cached(spec) or _obtained(spec, refusals, tell)


def read_version(path: Path) -> Version:
    """Ask an executable for its version. Raises BinaryRefused."""
    try:
        result = subprocess.run(  # noqa: S603 - the file that the user or the cache named
            [path, "--version"], capture_output=True, text=True, timeout=_VERSION_TIMEOUT, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise BinaryRefused(f"{path} --version does not run: {error}") from error
    version = Version.find(result.stdout) or Version.find(result.stderr)
    if result.returncode != 0 or version is None:
        words = (result.stdout + result.stderr).strip()[:200]
        raise BinaryRefused(f"{path} --version ended with code {result.returncode} and said {words!r}")
    return version


def _installed(spec: BinarySpec) -> Iterable[tuple[str, Path]]:
    if on_path := shutil.which(spec.name):
        yield "path", Path(on_path)
    assets = os.environ.get("KUBEBUILDER_ASSETS")
    if assets and spec.name != "temporal" and Path(assets, spec.name).is_file():
        yield "kubebuilder-assets", Path(assets, spec.name)


def _checked(spec: BinarySpec, path: Path, source: str) -> Located:
    version = read_version(path)
    if version < spec.oldest:
        raise BinaryRefused(
            f"{path} is {spec.name} {version}, older than {spec.oldest} ({spec.oldest_why}); "
            f"name another by {spec.env}, or have {spec.pinned} fetched by taking this one away"
        )
    return Located(name=spec.name, path=path.absolute(), version=str(version), source=source)


def _cached(spec: BinarySpec) -> Located | None:
    slots = [cache.slot(spec.name, spec.pinned)]
    if spec.name in _IN_ENVTEST:
        slots.append(cache.slot("envtest", ENVTEST_VERSION))
    for folder in slots:
        path = folder / spec.name
        if path.is_file():
            return _checked(spec, path, "cache")
    return None


def _obtained(spec: BinarySpec, refusals: list[str], tell: Say) -> Located:
    ways: list[tuple[str, Callable[[], Path]]] = [("build", lambda: _built(spec, tell))]
    if spec.name == "temporal":
        ways.insert(0, ("download", lambda: _temporal_downloaded(spec, tell)))
    elif spec.name in _IN_ENVTEST:
        ways.insert(0, ("download", lambda: _envtest_downloaded(spec, tell)))
    tell(f"{spec.name}: not named by {spec.env}, no usable one on PATH, not in {cache.cache_root()}")
    for source, way in ways:
        try:
            return _checked(spec, way(), source)
        except (DownloadFailed, BuildFailed, BinaryRefused) as refusal:
            refusals.append(f"{source}: {refusal}")
            tell(f"{spec.name}: {source} failed: {refusal}")
    raise BinaryNotFound(
        f"no {spec.name} {spec.oldest} or newer. Ways out: put one on PATH, name its file by {spec.env}, or install "
        f"Go 1.26 or newer and try again. What was tried:\n" + "\n".join(f"- {refusal}" for refusal in refusals)
    )


def _temporal_downloaded(spec: BinarySpec, tell: Say) -> Path:
    target = cache.slot(spec.name, spec.pinned)
    with cache.filling(target) as draft:
        download_temporal(spec.pinned, draft / spec.name, tell)
    return target / spec.name


def _envtest_downloaded(spec: BinarySpec, tell: Say) -> Path:
    target = cache.slot("envtest", ENVTEST_VERSION)
    # One archive serves two binaries, whose locks differ.
    with locked(cache.cache_root() / "envtest.lock"):
        if not (target / spec.name).is_file():
            with cache.filling(target) as draft:
                download_envtest(draft, tell)
    return target / spec.name


def _built(spec: BinarySpec, tell: Say) -> Path:
    target = cache.slot(spec.name, spec.pinned)
    with cache.filling(target) as draft:
        build(spec, draft / spec.name, tell)
    return target / spec.name
