"""Read ``services.yaml``, and say what is wrong in it: file, line, field, value, way out."""

from collections.abc import Hashable
from pathlib import Path
from typing import Any, cast

import yaml
from pydantic import ValidationError
from pydantic_core import ErrorDetails

from .configuration import InvalidConfiguration, ServicesConfig
from .strategy_registry import check_strategies

_Location = tuple[int | str, ...]


def load_services(path: Path, *, check_tokens: bool = True) -> ServicesConfig:
    """Read and check the file.

    Args:
        path: Of the YAML file.
        check_tokens: Whether to read each token once as well, and to import each strategy. A process that makes no
            calls does without.

    Raises:
        InvalidConfiguration: where the file cannot be read or is wrong, with one line per finding in `details`. Values
            below ``token`` are never shown.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidConfiguration(f"{path}: cannot be read: {error}; name another file") from None
    config = parse_services(text, str(path))
    if check_tokens:
        try:
            config.check_tokens()
            check_strategies(config)
        except InvalidConfiguration as error:
            findings = [f"{path}: {finding}" for finding in error.details]
            raise InvalidConfiguration("; ".join(findings), details=findings) from None
    return config


def parse_services(text: str, file: str) -> ServicesConfig:
    """Check the text of a file of that name. Raises `InvalidConfiguration` as `load_services` does."""
    try:
        tree = cast("yaml.Node | None", yaml.compose(text, Loader=yaml.SafeLoader))  # pyright: ignore[reportUnknownMemberType]
        data = yaml.load(text, Loader=_OnceEachLoader)  # noqa: S506 - a SafeLoader, see below
    except yaml.YAMLError as error:
        # The error's own text would show the line that it stumbled over, which may hold a token.
        mark = getattr(error, "problem_mark", None)
        place = f"{file}:{mark.line + 1}" if mark is not None else file
        problem = getattr(error, "problem", None) or "not YAML"
        raise InvalidConfiguration(f"{place}: {problem}; correct the YAML there") from None
    if not isinstance(data, dict):
        raise InvalidConfiguration(f"{file}: holds no mapping; it starts with «services:», see docs/services.md")
    try:
        return ServicesConfig.model_validate(data)
    except ValidationError as error:
        findings = [
            _finding(file, tree, cast("dict[str, Any]", data), details)
            for details in error.errors(include_url=False, include_context=False)
        ]
        # Not chained: pydantic's own text may show what was typed in place of a token's name.
        raise InvalidConfiguration("; ".join(findings), details=findings) from None


class _OnceEachLoader(yaml.SafeLoader):
    """A SafeLoader that refuses a key given twice; the plain one silently takes the last."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        seen: set[Hashable] = set()
        for key_node, _ in node.value:
            key = cast("object", self.construct_object(key_node, deep=True))  # pyright: ignore[reportUnknownMemberType]
            if not isinstance(key, Hashable):
                continue  # SafeLoader itself refuses it below
            if key in seen:
                raise yaml.constructor.ConstructorError(
                    None, None, f"{key} is given twice; keep one of the two", key_node.start_mark
                )
            seen.add(key)
        return super().construct_mapping(node, deep)


def _finding(file: str, tree: yaml.Node | None, data: dict[str, Any], details: ErrorDetails) -> str:
    location = _in_the_file(details["loc"], data)
    line = _line(tree, location)
    return f"{file}:{line}: {_field(location, data)}: {_sentence(details, location)}"


def _in_the_file(location: _Location, data: dict[str, Any]) -> _Location:
    """The location without what pydantic adds to it: tags of unions, such as ``discovery.pods.selector``."""
    kept: list[int | str] = []
    value: Any = data
    for index, part in enumerate(location):
        last = index == len(location) - 1
        if isinstance(value, dict) and (part in value or last) and not (last and _is_union_tag(part)):
            kept.append(part)
            value = cast("dict[int | str, Any]", value).get(part)
        elif isinstance(value, list) and isinstance(part, int):
            items = cast("list[Any]", value)
            kept.append(part)
            value = items[part] if part < len(items) else None
    return tuple(kept)


def _is_union_tag(part: int | str) -> bool:
    return part in {"pods", "endpoint-slices", "static"}


def _line(tree: yaml.Node | None, location: _Location) -> int:
    """The line of the field, or of the innermost thing around it that stands in the file."""
    node = tree
    line = node.start_mark.line + 1 if node is not None else 1
    for part in location:
        found: tuple[int, yaml.Node] | None = None
        if isinstance(node, yaml.MappingNode):
            for key, value in cast("list[tuple[yaml.Node, yaml.Node]]", node.value):
                if key.value == part:
                    found = key.start_mark.line + 1, value
        elif isinstance(node, yaml.SequenceNode) and isinstance(part, int):
            items = cast("list[yaml.Node]", node.value)
            if part < len(items):
                found = items[part].start_mark.line + 1, items[part]
        if found is None:
            break
        line, node = found
    return line


def _field(location: _Location, data: dict[str, Any]) -> str:
    """``services[2] (gateway).port``."""
    text = ""
    value: Any = data
    for part in location:
        if isinstance(part, int):
            text += f"[{part}]"
            items = cast("list[Any]", value)
            value = items[part] if part < len(items) else None
            name = cast("dict[str, Any]", value).get("name") if isinstance(value, dict) else None
            text += f" ({name})" if isinstance(name, str) and len(name) <= 63 else ""
        else:
            text += f".{part}" if text else part
            value = cast("dict[str, Any]", value).get(part) if isinstance(value, dict) else None
    return text or "the file"


def _sentence(details: ErrorDetails, location: _Location) -> str:
    kind = details["type"]
    if kind == "extra_forbidden":
        return "is no field of this section; correct its name or remove it (docs/services.md lists the fields)"
    if kind == "missing":
        return "is missing; add it"
    if kind == "union_tag_not_found":
        return "type: is missing; write pods, endpoint-slices or static"
    if kind == "union_tag_invalid":
        return "type: is none that there is; write pods, endpoint-slices or static"
    if kind == "too_short" and not details.get("input"):
        return "is empty; name at least one"
    value = _shown_value(details.get("input"), location)
    way_out = _form(location) if kind == "string_pattern_mismatch" else _FORMS.get(kind, "")
    if kind == "model_type" and "token" in location:
        way_out = "is no mapping; write {env: NAME} or {file: PATH}, never the token itself"
    if way_out:
        return f"{value}{way_out}"
    message = details["msg"].removeprefix("Value error, ")
    return f"{value}{message[:1].lower()}{message[1:]}"


_FORMS = {
    "bool_type": "is neither true nor false; write one of them, without quotes",
    "int_type": "is no whole number; write one, without quotes",
    "int_parsing": "is no whole number; write one, without quotes",
    "int_from_float": "is no whole number; write one",
    "float_type": "is no number; write one, without quotes",
    "float_parsing": "is no number; write one, without quotes",
    "string_type": "is no text; write it in quotes",
    "list_type": "is no list; write one, such as [a, b], or a line with a dash for each",
    "dict_type": "is no mapping; write name: value",
    "model_type": "is no mapping; write the fields of this section below it (docs/services.md lists them)",
}
"""What a value of a wrong form is, and what to write instead, by pydantic's kind of error."""


def _form(location: _Location) -> str:
    """The same for texts that do not fit their pattern."""
    if "labels" in location or "task_manager_labels" in location:
        return "is no label; write names and values as Kubernetes takes them: letters, digits, dashes, dots"
    if location and location[-1] == "env":
        return "is no name of an environment variable; write letters, digits and underscores"
    if "provided_modules" in location:
        return "is no dotted name of a module; write one such as package.module"
    if location and location[-1] == "path":
        return "is no path of a URL; write one such as /taskroll, without a slash at its end"
    if location and location[-1] == "grpc_service":
        return "is no name of a gRPC service; write one such as package.Service"
    return "is no name; write lower-case letters, digits and dashes, a letter or digit at both ends"


def _shown_value(value: object, location: _Location) -> str:
    """The value as typed, for single values outside of ``token``: somebody may have put the token itself there, or a
    password into a URL."""
    if "token" in location or not isinstance(value, str | int | float | bool):
        return ""
    if isinstance(value, str) and "@" in value:
        return ""
    return f"{str(value)[:80]!r} " if isinstance(value, str) else f"{value!r} "
