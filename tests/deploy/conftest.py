"""What the deployment files are checked with: the libraries of Compose, BuildKit and kustomize, without an engine."""

from __future__ import annotations

import pytest

from . import go_programs
from .checker import REPOSITORY, Checker, JsonObject, compose_environment


@pytest.fixture(scope="session")
def checker() -> Checker:
    """The program of `deploycheck/`."""
    return Checker(go_programs.build("deploycheck", {"deploycheck": "."}) / "deploycheck")


@pytest.fixture(scope="session")
def compose(checker: Checker) -> JsonObject:
    """docker-compose.yml as Compose understands it, with every profile."""
    return checker.compose(REPOSITORY / "docker-compose.yml", compose_environment())


@pytest.fixture(scope="session")
def workloads(checker: Checker) -> list[JsonObject]:
    """All objects of deploy/workloads, the optional ones too."""
    folder = REPOSITORY / "deploy" / "workloads"
    return checker.kustomize(folder) + checker.kustomize(folder / "http-endpoint")
