"""Task sources of the saga's tests: small modules whose classes say which version they are."""

import base64

from taskroll_agent.contracts import DefinitionContent, Metadata

PACKAGE = "probe_tasklib.task"


def unit(name: str, version: int, *, body: str = "") -> DefinitionContent:
    """A unit task in a module of its own."""
    source = f"class {name}:\n    VERSION = {version}\n{body}"
    return task(name, f"{PACKAGE}.unit.{name.lower()}", source, is_unit=True)


def composite(name: str, version: int, *uses: str) -> DefinitionContent:
    """A composite task whose module imports those of the unit tasks that it uses."""
    imports = "".join(f"from {PACKAGE}.unit.{used.lower()} import {used}\n" for used in uses)
    used = ", ".join(uses)
    source = f"{imports}\n\nclass {name}:\n    VERSION = {version}\n    USES = [{used}]\n"
    return task(name, f"{PACKAGE}.composite.{name.lower()}", source, is_unit=False)


def task(
    class_name: str, module: str, source: str, *, is_unit: bool, metadata: Metadata | None = None
) -> DefinitionContent:
    """A TaskDefinition of any source."""
    return DefinitionContent(
        kind="TaskDefinition",
        name=resource_name(class_name),
        spec={
            "taskClassName": class_name,
            "moduleName": module,
            "sourceCode": base64.b64encode(source.encode()).decode(),
            "isUnitTask": is_unit,
        },
        metadata=metadata or Metadata(),
    )


def resource_name(class_name: str) -> str:
    return "".join(f"-{char.lower()}" if char.isupper() else char for char in class_name).strip("-")


def library(version: int) -> list[DefinitionContent]:
    """Two unit tasks and a composite that uses one of them; all change with the version but the second unit task."""
    return [unit("EncoderTask", version), unit("WriterTask", 1), composite("SketchTask", version, "EncoderTask")]


BROKEN = task(
    "SketchTask",
    f"{PACKAGE}.composite.sketchtask",
    f"from {PACKAGE}.unit.encodertask import Absent\n\n\nclass SketchTask:\n    VERSION = 3\n",
    is_unit=False,
)
"""Passes every check of the text, and fails at import."""
