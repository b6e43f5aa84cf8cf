"""Small packages and definitions for these tests. None of their sources is ever imported here."""

import base64
import textwrap
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from taskroll_agent.contracts import DefinitionContent, Kind

MakePackage = Callable[[Mapping[str, str]], Path]
MakeDefinition = Callable[..., DefinitionContent]

CONFIG = """
[tool.taskroll.bases]
unit_task = ["base.UnitTask"]
composite_task = ["base.Task"]
descriptor = ["base.Descriptor"]
"""


@pytest.fixture
def make_package(tmp_path: Path) -> MakePackage:
    """Write files (path → text) and a configuration with the bases ``base.…``; the answer is their folder."""

    def make(files: Mapping[str, str]) -> Path:
        for name, text in {"pyproject.toml": CONFIG, **files}.items():
            file = tmp_path / name
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(textwrap.dedent(text).lstrip("\n"), encoding="utf-8")
        return tmp_path

    return make


@pytest.fixture
def make_definition() -> MakeDefinition:
    def make(
        source: str | bytes = "class A: ...\n",
        *,
        module: str = "lib.a",
        cls: str = "A",
        name: str | None = None,
        kind: Kind = "TaskDefinition",
        task: str = "A",
        **values: object,
    ) -> DefinitionContent:
        data = textwrap.dedent(source).encode() if isinstance(source, str) else source
        spec: dict[str, object] = {
            "taskClassName": cls if kind == "TaskDefinition" else task,
            "moduleName": module,
            "sourceCode": base64.b64encode(data).decode(),
        }
        if kind == "TaskDefinition":
            spec["isUnitTask"] = True
        else:
            spec |= {"descriptorClassName": cls, "isDefault": True}
        return DefinitionContent(kind=kind, name=name or cls.lower(), spec=spec | values)

    return make
