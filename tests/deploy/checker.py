"""The front of `deploycheck/`, and what several tests need to know of the deployment files."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

REPOSITORY = Path(__file__).parents[2]
JsonObject = dict[str, Any]

PASSWORD = "only-for-this-test"


class Refused(Exception):
    """The tool would refuse the file; the text says why."""


@dataclass(frozen=True)
class Checker:
    """Reads files as the tools do that they are for."""

    program: Path

    def compose(self, file: Path, environment: Mapping[str, str]) -> JsonObject:
        """The resolved model. Raises Refused; a warning counts as well."""
        return json.loads(self._run("compose", file, environment))

    def dockerfile(self, file: Path) -> list[str]:
        """The findings of BuildKit's linter. Raises Refused."""
        return json.loads(self._run("dockerfile", file))

    def kustomize(self, folder: Path) -> list[JsonObject]:
        """The rendered objects. Raises Refused."""
        return list(yaml.safe_load_all(self._run("kustomize", folder)))

    def template(self, file: Path, environment: Mapping[str, str]) -> str:
        """Temporal's configuration from its image's template. Raises Refused."""
        return self._run("template", file, environment)

    def _run(self, command: str, path: Path, environment: Mapping[str, str] | None = None) -> str:
        result = subprocess.run(
            [self.program, command, path], env=dict(environment or {}), capture_output=True, text=True, timeout=60
        )
        if result.returncode != 0 or result.stderr:
            raise Refused(result.stderr)
        return result.stdout


def compose_environment() -> dict[str, str]:
    """What an operator must set: the variables of example.env that stand there with nothing behind them."""
    values = {
        "TASKROLL_POSTGRES_PASSWORD": PASSWORD,
        "TASKROLL_KUBECONFIG_FILE": "/somewhere/kubeconfig",
        "TASKROLL_AGENT_TOKEN_FILE": "/somewhere/token",
    }
    asked = re.findall(r"^([A-Z_]+)=$", (REPOSITORY / "deploy/compose/example.env").read_text(), re.MULTILINE)
    assert sorted(asked) == sorted(values)
    return values


def taskroll_variables(environment: Mapping[str, str]) -> dict[str, str]:
    """Those that taskroll itself reads."""
    return {name: value for name, value in environment.items() if name.startswith("TASKROLL_")}
