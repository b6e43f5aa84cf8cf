"""Data to stdout as a table, JSON or YAML; progress to stderr. Colour only on a terminal, and not with ``NO_COLOR``."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterable, Mapping, Sequence
from enum import StrEnum
from typing import IO, TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from pydantic import BaseModel
    from rich.console import Console, RenderableType


class Output(StrEnum):
    """Form of the data on stdout."""

    TABLE = "table"
    JSON = "json"
    YAML = "yaml"


NARROW = 60
"""A terminal of fewer columns gets a table's rows one under the other, a line per cell."""

OutputOption = Annotated[Output, typer.Option("--output", "-o", help="Form of the data on stdout.")]


def progress() -> Console:
    """The console for what a person watches: stderr."""
    return _console(to_stderr=True)


def _console(*, to_stderr: bool = False, width: int | None = None, file: IO[str] | None = None) -> Console:
    from rich.console import Console

    # With NO_COLOR rich leaves out the colours, but not bold type; without a colour system it leaves out both.
    plain = bool(os.environ.get("NO_COLOR"))
    return Console(stderr=to_stderr, file=file, highlight=False, width=width, color_system=None if plain else "auto")


def emit_document(document: BaseModel | Mapping[str, object], output: Output) -> None:
    """Write one JSON or YAML document."""
    plain = _plain(document)
    if output is Output.JSON:
        text = json.dumps(plain, indent=2, ensure_ascii=not _takes_unicode()) + "\n"
    else:
        import yaml

        text = yaml.safe_dump(plain, sort_keys=False, allow_unicode=_takes_unicode(), width=120)
    _write(text)


def emit_table(headings: Sequence[str], rows: Sequence[Sequence[RenderableType]]) -> None:
    """Write columns the way kubectl does: no frame, a heading, nothing wrapped where no terminal reads it."""
    if not rows:
        progress().print("nothing to show", markup=False)
        return
    if sys.stdout.isatty() and _console().width < NARROW:
        # A row of columns would be cut into pieces of a few letters.
        for number, row in enumerate(rows):
            emit(*([""] if number else []), columns((), list(zip(headings, row, strict=True)), wrap=True))
        return
    emit(columns(headings, rows, wrap=sys.stdout.isatty()))


def emit(*parts: RenderableType) -> None:
    """Write to stdout. Where no terminal reads it: no colour, nothing wrapped or cut, no blanks at line ends."""
    if sys.stdout.isatty():
        _console().print(*parts, sep="\n", markup=False)
        return
    from io import StringIO

    # Not rich's own capture: that still writes (nothing) to stdout, and fails there in its own way.
    text = StringIO()
    _console(width=10_000, file=text).print(*parts, sep="\n", soft_wrap=True, markup=False)
    lines = text.getvalue().splitlines()
    _write("".join(f"{line.rstrip()}\n" for line in lines))


def _takes_unicode() -> bool:
    return sys.stdout.encoding.lower().replace("-", "").startswith("utf")


def _write(text: str) -> None:
    """Write to stdout.

    Raises:
        TaskrollError: where it cannot be written, as on a full disk.
        BrokenPipeError: where the reader has enough.
    """
    try:
        sys.stdout.write(text)
        sys.stdout.flush()
    except BrokenPipeError:
        raise
    except OSError as error:
        from taskroll.models.errors import TaskrollError

        # Python would try once more at exit, and complain.
        sys.stdout = None
        raise TaskrollError(f"stdout cannot be written: {error.strerror}; send the output elsewhere") from error


def columns(headings: Sequence[str], rows: Iterable[Sequence[RenderableType]], *, wrap: bool) -> RenderableType:
    """A table without a frame; without `headings`, the rows alone. Strings are never read as markup."""
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 2, 0, 0), show_header=bool(headings))
    for heading in headings:
        table.add_column(heading, no_wrap=not wrap, overflow="fold")
    for row in rows:
        table.add_row(*(Text(cell) if isinstance(cell, str) else cell for cell in row))
    return table


def _plain(document: object) -> object:
    from pydantic_core import to_jsonable_python

    return to_jsonable_python(document)
