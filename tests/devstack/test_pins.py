"""A version stands in one place; what must repeat it says the same."""

from __future__ import annotations

import re
from importlib.resources import files

import pytest

from taskroll.devstack.versions import BINARIES, ENVTEST_SHA512, TEST_SERVER_VERSION, BinarySpec

SOURCES = files("taskroll.devstack")


@pytest.mark.parametrize("spec", BINARIES.values(), ids=BINARIES.keys())
def test_go_module_requires_the_pinned_version(spec: BinarySpec) -> None:
    folder = SOURCES / "gobuild" / spec.module
    module = spec.package.split("/cmd/")[0]
    pin = f"{module} v{spec.pinned}"
    assert re.search(rf"^require {re.escape(pin)}$", (folder / "go.mod").read_text(), re.MULTILINE)
    sums = (folder / "go.sum").read_text()
    assert f"{pin} h1:" in sums
    assert f"{pin}/go.mod h1:" in sums
    assert f'"{spec.package}"' in (folder / "tools.go").read_text()
    assert str(spec.pinned) in spec.ldflags or spec.name == "etcd"


def test_kubernetes_staging_modules_are_those_of_the_same_release() -> None:
    pinned = BINARIES["kube-apiserver"].pinned
    text = (SOURCES / "gobuild" / "kubernetes" / "go.mod").read_text()
    replacements = re.findall(r"^\t(k8s\.io/\S+) => (\S+) v(\S+)$", text, re.MULTILINE)
    assert len(replacements) >= 30
    assert {(name == target, version) for name, target, version in replacements} == {
        (True, f"0.{pinned.minor}.{pinned.patch}")
    }


def test_time_skipping_server() -> None:
    pom = (SOURCES / "testserver" / "pom.xml").read_text()
    assert f"<version>{TEST_SERVER_VERSION}</version>" in pom
    assert f"temporal-test-server-{TEST_SERVER_VERSION}.jar" in (SOURCES / "testserver" / "jars.sha256").read_text()


def test_checksums_are_whole() -> None:
    assert all(re.fullmatch("[0-9a-f]{128}", digest) for digest in ENVTEST_SHA512.values())
