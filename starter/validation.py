"""Pydantic's findings as one error of ours: field, value, what is wrong with it, and the way out."""

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from pydantic import ValidationError

from taskroll.models.errors import InvalidRequest
from taskroll.models.names import NAMESPACE_PATTERN, REQUEST_ID_PATTERN, RESOURCE_NAME_PATTERN
from taskroll_agent.contracts.definition import DIGEST_PATTERN

Model = TypeVar("Model")

SHOWN_VALUE = 80
"""Characters of a wrong value that a message repeats."""

_FORMS = {
    REQUEST_ID_PATTERN: "write lower-case letters, digits and dashes, at most 63; a letter or digit first and last",
    NAMESPACE_PATTERN: "write lower-case letters, digits and dashes, at most 63; a letter or digit first and last",
    RESOURCE_NAME_PATTERN: "write lower-case letters, digits and dashes, at most 100; a letter or digit first and last",
    DIGEST_PATTERN: "write sha256: and 64 lower-case hex digits",
}


def validated(what: str, build: Callable[[], Model], *, at: str = "") -> Model:
    """Build a model.

    Args:
        what: Names the whole in the message, such as ``request``.
        build: Makes it.
        at: Where the whole stands in a request, such as ``body``: what the paths of its fields begin with.

    Raises:
        InvalidRequest: with a line per field that is wrong.
    """
    try:
        return build()
    except ValidationError as error:
        found = findings(error.errors())
        lines = [": ".join(filter(None, (path, message))) for path, message in found]
        fields = [(".".join(filter(None, (at, path))), message) for path, message in found]
        if len(lines) == 1:
            raise InvalidRequest(f"{what}: {lines[0]}", fields=fields) from error
        raise InvalidRequest(f"{what}: {len(lines)} fields are wrong", details=lines, fields=fields) from error


def findings(errors: list[Any] | Any) -> list[tuple[str, str]]:
    """Path and message of each of pydantic's errors."""
    return [(field_path(tuple(each["loc"])), _message(each)) for each in errors]


def field_path(location: tuple[int | str, ...]) -> str:
    """``definitions[3].spec`` from pydantic's location."""
    path = ""
    for part in location:
        path += f"[{part}]" if isinstance(part, int) else f".{part}" if path else part
    return path


def _message(each: Mapping[str, Any]) -> str:
    message = str(each["msg"]).removeprefix("Value error, ")
    if each["type"] == "string_pattern_mismatch":
        message = _FORMS.get(each.get("ctx", {}).get("pattern", ""), message)
    value = each.get("input")
    # A whole model as the value would drown what is said about it.
    shown = isinstance(value, str | int | float | bool)
    return f"{message} (was {value!r:.{SHOWN_VALUE}})" if shown else message
