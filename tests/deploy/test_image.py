"""The Dockerfile: converted to build steps by BuildKit's own front end, and in step with the package and its users."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest

from .checker import REPOSITORY, Checker, JsonObject, Refused

DOCKERFILE = REPOSITORY / "Dockerfile"
PROJECT = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())


def test_no_finding(checker: Checker) -> None:
    assert checker.dockerfile(DOCKERFILE) == []


@pytest.mark.parametrize(
    ("text", "mistake", "words"),
    [
        ("WORKDIR", "WORKDR", "unknown instruction"),
        ("--from=build", "--from=bild", "bild.*did you mean build"),
        ("python:3.11.15-slim-bookworm", "python", "neither a stage nor an image with a tag"),
        ("COPY requirements.lock ./", "COPY requirements.lock", "COPY requires at least two arguments"),
    ],
)
def test_a_mistake_is_refused(checker: Checker, tmp_path: Path, text: str, mistake: str, words: str) -> None:
    wrong = tmp_path / "Dockerfile"
    wrong.write_text(DOCKERFILE.read_text().replace(text, mistake, 1))
    with pytest.raises(Refused, match=words):
        checker.dockerfile(wrong)


def test_a_bad_habit_is_found(checker: Checker, tmp_path: Path) -> None:
    wrong = tmp_path / "Dockerfile"
    wrong.write_text(DOCKERFILE.read_text() + "ENV TASKROLL_AGENT_TOKEN=hunter2\n")
    assert any("SecretsUsedInArgOrEnv" in finding for finding in checker.dockerfile(wrong))


def test_everything_of_the_package_is_copied() -> None:
    wheel = PROJECT["tool"]["hatch"]["build"]["targets"]["wheel"]
    needed = {*wheel["packages"], *(Path(path).parts[0] for path in wheel.get("force-include", {})), "agent"}
    needed |= {
        "pyproject.toml",
        "requirements.lock",
        PROJECT["project"]["readme"],
        *PROJECT["project"]["license-files"],
    }
    copied = {
        word
        for line in re.findall(r"^COPY (?!--from)(.+)$", DOCKERFILE.read_text(), re.MULTILINE)
        for word in line.split()[:-1]
    }
    let_in = set(re.findall(r"^!(.+)$", (REPOSITORY / ".dockerignore").read_text(), re.MULTILINE))
    assert copied == let_in == needed


def test_the_lock_is_checked_before_anything_is_installed() -> None:
    steps = re.findall(r"^RUN (.+?)(?<!\\)$", DOCKERFILE.read_text(), re.MULTILINE | re.DOTALL)
    asking = [step for step in steps if re.search(r"\bpip\b", step) and "--no-index" not in step]
    assert len(asking) == 1
    assert "--require-hashes" in asking[0]


def test_runs_as_the_user_that_its_users_expect(compose: JsonObject, workloads: list[JsonObject]) -> None:
    (user,) = re.findall(r"^USER (\d+):(\d+)$", DOCKERFILE.read_text(), re.MULTILINE)
    assert compose["services"]["worker"]["user"] == ":".join(user)
    for workload in workloads:
        if workload["kind"] == "Deployment":
            context = workload["spec"]["template"]["spec"]["securityContext"]
            assert [context["runAsUser"], context["runAsGroup"], context["fsGroup"]] == [*map(int, user), int(user[1])]


def test_commands_are_those_of_the_package(compose: JsonObject, workloads: list[JsonObject]) -> None:
    (command,) = re.findall(r'^ENTRYPOINT \["([\w-]+)"\]$', DOCKERFILE.read_text(), re.MULTILINE)
    commands = {command, compose["services"]["http"]["entrypoint"][0]}
    for workload in workloads:
        if workload["kind"] == "Deployment":
            commands |= {*workload["spec"]["template"]["spec"]["containers"][0].get("command", [command])[:1]}
    assert commands == set(PROJECT["project"]["scripts"])


def test_python_is_one_that_the_project_names() -> None:
    (release,) = re.findall(r"python:(\d+\.\d+)\.\d+-slim", DOCKERFILE.read_text())
    assert f"Programming Language :: Python :: {release}" in PROJECT["project"]["classifiers"]
