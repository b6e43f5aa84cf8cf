"""Pydantic's findings as one error of ours: field, value, and what is wrong with it."""

from collections.abc import Callable
from typing import TypeVar

from pydantic import ValidationError

from taskroll.models.errors import InvalidRequest

Model = TypeVar("Model")

SHOWN_VALUE = 80


def validated(what: str, build: Callable[[], Model]) -> Model:
    """Build a model.

    Args:
        what: Names the whole in the message, such as ``request``.

    Raises:
        InvalidRequest: with a line per field that is wrong.
    """
    try:
        return build()
    except ValidationError as error:
        findings = [
            _line(each["loc"], each["msg"], each["input"])
            for each in error.errors(include_url=False, include_context=False)
        ]
        raise InvalidRequest(
            f"{what}: {findings[0]}" if len(findings) == 1 else what, details=findings[1:] and findings
        ) from error


def field_path(location: tuple[int | str, ...]) -> str:
    """``definitions[3].spec`` from pydantic's location."""
    path = ""
    for part in location:
        path += f"[{part}]" if isinstance(part, int) else f".{part}" if path else part
    return path


def _line(location: tuple[int | str, ...], message: str, value: object) -> str:
    path = field_path(location)
    message = message.removeprefix("Value error, ")
    # A whole model as the value would drown what is said about it.
    shown = f" (was {value!r:.{SHOWN_VALUE}})" if isinstance(value, str | int | float | bool) else ""
    return f"{path}: {message}{shown}" if path else message
