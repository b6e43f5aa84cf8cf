"""The reference is complete: every exit code, command, option, route, problem and package field is in it."""

import re
from pathlib import Path

import pytest
import typer
from pydantic import BaseModel

from starter.cli.exit_codes import ExitCode
from starter.cli.main import app as cli
from starter.http import problems
from starter.http.app import create_app
from starter.http.bodies import UpdateBody
from starter.http.tokens import BearerTokens
from starter.settings import Settings
from taskroll.models.policy import UpdatePolicy
from taskroll.tasklib.package_config import PackageConfig, TaskBases, load_package_config

from .place import ROOT

CLI = (ROOT / "docs" / "cli.md").read_text()
HTTP = (ROOT / "docs" / "http.md").read_text()
PACKAGE = (ROOT / "docs" / "package.md").read_text()


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


@pytest.mark.parametrize(
    ("model", "section"), [(PackageConfig, 0), (TaskBases, 1)], ids=["[tool.taskroll]", "[tool.taskroll.bases]"]
)
def test_the_fields_of_a_package_are_those_of_the_model(model: type[BaseModel], section: int) -> None:
    text = PACKAGE.split("\n## ")[section]
    assert re.findall(r"^\| `(\w+)` \|", text, re.MULTILINE) == [*_ordered(model)]


def _ordered(model: type[BaseModel]) -> list[str]:
    """As they stand in the model, tables within the table last."""
    return sorted(model.model_fields, key=lambda name: name == "bases")


def test_the_example_of_a_package_names_every_field_and_is_valid(tmp_path: Path) -> None:
    [example] = re.findall(r"```toml\n(.*?)```", PACKAGE, re.DOTALL)
    folder = tmp_path / "library"
    (folder / "src").mkdir(parents=True)
    (tmp_path / "platform" / "src").mkdir(parents=True)
    (folder / "pyproject.toml").write_text(example)
    config = load_package_config(folder)
    assert config.model_fields_set == set(PackageConfig.model_fields)
    assert config.bases.model_fields_set == set(TaskBases.model_fields)


def test_the_defaults_of_a_package_are_the_models() -> None:
    for name, field in TaskBases.model_fields.items():
        assert f'| `{name}` | list of class paths | `["{field.default[0]}"]` |' in PACKAGE
