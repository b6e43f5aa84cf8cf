"""The one place for versions: what is pinned, what is the oldest that serves, and the checksums of downloads."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal, NamedTuple

BinaryName = Literal["temporal", "etcd", "kube-apiserver", "kube-controller-manager"]


class Version(NamedTuple):
    """Three numbers that compare as one expects; suffixes such as `-rc.1` are dropped."""

    major: int
    minor: int
    patch: int

    def __str__(self) -> str:
        return f"{self.major}.{self.minor}.{self.patch}"

    @classmethod
    def find(cls, text: str) -> Version | None:
        """Return the first `1.2.3` in what a program prints about itself, or None."""
        match = re.search(r"(\d+)\.(\d+)\.(\d+)", text)
        return cls(*(int(part) for part in match.groups())) if match else None


@dataclass(frozen=True)
class BinarySpec:
    """One binary: where it may come from and which versions serve.

    Attributes:
        name: File name of the executable.
        env: Environment variable that names a file to use instead of all else.
        pinned: The version that is downloaded or built.
        oldest: The oldest version accepted from elsewhere.
        oldest_why: What an older one lacks.
        module: Folder under `gobuild/` with the pinned Go module.
        package: Go package to build.
        ldflags: What the project's own release build stamps in; without it the program does not know its version.
        build_minutes: What a cold build took on two cores, modules downloaded included. Measured 2026-11.
    """

    name: BinaryName
    env: str
    pinned: Version
    oldest: Version
    oldest_why: str
    module: str
    package: str
    ldflags: str
    build_minutes: float


_KUBERNETES = Version(1, 36, 3)
_KUBERNETES_STAMP = " ".join(
    f"-X k8s.io/component-base/version.{key}={value}"
    for key, value in {
        "gitVersion": f"v{_KUBERNETES}",
        "gitMajor": _KUBERNETES.major,
        "gitMinor": _KUBERNETES.minor,
        "gitTreeState": "archive",
    }.items()
)
_VAP = "ValidatingAdmissionPolicy is stable since 1.30"

BINARIES: dict[BinaryName, BinarySpec] = {
    "temporal": BinarySpec(
        name="temporal",
        env="TASKROLL_TEMPORAL_BIN",
        pinned=Version(1, 5, 1),
        oldest=Version(1, 3, 0),
        oldest_why="updates, user metadata and typed search attributes need server 1.27",
        module="temporal",
        package="github.com/temporalio/cli/cmd/temporal",
        ldflags="-X github.com/temporalio/cli/temporalcli.Version=1.5.1",
        build_minutes=4,
    ),
    "etcd": BinarySpec(
        name="etcd",
        env="TASKROLL_ETCD_BIN",
        pinned=Version(3, 6, 16),
        oldest=Version(3, 5, 13),
        oldest_why="kube-apiserver needs the watch progress fix of 3.5.13",
        module="etcd",
        package="go.etcd.io/etcd/server/v3",
        ldflags="",
        build_minutes=1,
    ),
    "kube-apiserver": BinarySpec(
        name="kube-apiserver",
        env="TASKROLL_KUBE_APISERVER_BIN",
        pinned=_KUBERNETES,
        oldest=Version(1, 30, 0),
        oldest_why=_VAP,
        module="kubernetes",
        package="k8s.io/kubernetes/cmd/kube-apiserver",
        ldflags=_KUBERNETES_STAMP,
        build_minutes=4.5,
    ),
    "kube-controller-manager": BinarySpec(
        name="kube-controller-manager",
        env="TASKROLL_KUBE_CONTROLLER_MANAGER_BIN",
        pinned=_KUBERNETES,
        oldest=Version(1, 30, 0),
        oldest_why="it must not be older than the API server's oldest",
        module="kubernetes",
        package="k8s.io/kubernetes/cmd/kube-controller-manager",
        ldflags=_KUBERNETES_STAMP,
        build_minutes=2,
    ),
}

# The envtest release: etcd, kube-apiserver and kubectl in one archive. Its newest 1.36 is a patch behind the pin above.
ENVTEST_VERSION = Version(1, 36, 2)
ENVTEST_URL = (
    "https://github.com/kubernetes-sigs/controller-tools/releases/download/envtest-v{version}/"
    "envtest-v{version}-{os}-{arch}.tar.gz"
)
# SHA-512, as published in that project's envtest-releases.yaml.
ENVTEST_SHA512 = {
    ("linux", "amd64"): "ea743186c8a799f5cf8faf16969f86189d003cb7d130e0ac4b58789f1e5748dc"
    "f30ebe91c837a10d5ac415383da3e10b9e64d65785c938c23e739781cfb76f08",
    ("linux", "arm64"): "2d72ee985a8e262a3c57dc9f7f0fd891f6a8c7bf7ebaa2db6dc6d8eac8ae2818"
    "1afe51c1f368b67756cdb40b10de9b205609e1726e5f27f7c6d824dd9c6649ac",
}

# io.temporal:temporal-test-server, the time-skipping server.
TEST_SERVER_VERSION = "1.30.1"
