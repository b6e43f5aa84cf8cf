"""The reference is complete: every exit code, command, option, route and problem is in it."""

import re

import pytest
import typer

from starter.cli.exit_codes import ExitCode
from starter.cli.main import app as cli
from starter.http import problems
from starter.http.app import create_app
from starter.http.bodies import UpdateBody
from starter.http.tokens import BearerTokens
from starter.settings import Settings
from taskroll.models.policy import UpdatePolicy

from .place import ROOT

CLI = (ROOT / "docs" / "cli.md").read_text()
HTTP = (ROOT / "docs" / "http.md").read_text()


@pytest.mark.parametrize("code", list(ExitCode), ids=lambda code: code.name)
def test_every_exit_code(code: ExitCode) -> None:
    assert re.search(rf"^\| {code.value} \| {code.name} \|", CLI, re.MULTILINE)


def test_no_exit_code_that_is_gone() -> None:
    table = re.findall(r"^\| (\d+) \| ([A-Z_]+) \|", CLI, re.MULTILINE)
    assert {(int(value), name) for value, name in table} == {(code.value, code.name) for code in ExitCode}


def test_every_command_and_option() -> None:
    group = typer.main.get_group(cli)
    for name, command in group.commands.items():
        assert f"`{name}" in CLI or f"[`{name}" in CLI, name
        for parameter in command.params:
            longest = max(parameter.opts, key=len)
            # Of the endpoint's process, in docs/http.md.
            assert not longest.startswith("--") or longest == "--help" or longest in CLI + HTTP, (name, longest)


def test_every_route() -> None:
    document = create_app(Settings(), BearerTokens(["a-token-of-the-tests"])).openapi()
    for path, item in document["paths"].items():
        for method in item:
            short = path.replace("{request_id}", "{id}")
            stem, _, last = short.rpartition("/")
            assert f"`{method.upper()} {short}`" in HTTP or (
                f"`{method.upper()} {stem}/" in HTTP and f"`/{last}`" in HTTP
            )


def test_every_problem_and_field() -> None:
    codes = {*problems._STATUS, *problems._HTTP_CODES.values(), "MissingIdempotencyKey", "Unexpected"}
    # These the cluster's client raises where somebody else's object is in the way; the update's status tells of them.
    for code in codes - {"ForeignWrite", "Conflict", "NotFound"}:
        assert f"`{code}`" in HTTP, code
    for field in [*UpdateBody.model_fields, *UpdatePolicy.model_fields]:
        assert f"`{field}`" in HTTP or f'"{field}"' in HTTP, field
