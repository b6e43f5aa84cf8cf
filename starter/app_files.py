"""Sources of registered apps, from files that somebody names on the command line."""

from collections.abc import Sequence
from pathlib import Path

from taskroll.models.apps import AppSource
from taskroll.models.errors import InvalidRequest

from .validation import validated


def read_apps(named: Sequence[str]) -> list[AppSource]:
    """Read ``ID=PATH`` each.

    Raises:
        InvalidRequest: naming what was written, where it is not of that form or the file cannot be read.
    """
    return [_app(text) for text in named]


def _app(text: str) -> AppSource:
    app_id, equals, path = text.partition("=")
    if not equals or not path:
        raise InvalidRequest(f"app {text!r}: write ID=PATH, the id as the platform lists it and the file of its source")
    try:
        source = Path(path).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidRequest(f"app {app_id!r}: {path} cannot be read: {error}") from error
    return validated(f"app {text!r}", lambda: AppSource(id=app_id, source=source))
