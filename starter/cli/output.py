"""Data to stdout as a table, JSON or YAML; progress to stderr. Colour only on a terminal, and not with ``NO_COLOR``."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from pydantic import BaseModel
    from rich.console import Console, RenderableType


class Output(StrEnum):
    """Form of the data on stdout."""

    TABLE = "table"
    JSON = "json"
    YAML = "yaml"


OutputOption = Annotated[Output, typer.Option("--output", "-o", help="Form of the data on stdout.")]


def progress() -> Console:
    """The console for what a person watches: stderr."""
    from rich.console import Console

    return Console(stderr=True, highlight=False)


def data() -> Console:
    """The console for what was asked for: stdout. Nothing is cut to a width where no terminal reads it."""
    from rich.console import Console

    return Console(highlight=False, width=None if sys.stdout.isatty() else 10_000)


def emit_document(document: BaseModel | Mapping[str, object], output: Output) -> None:
    """Write one JSON or YAML document."""
    plain = _plain(document)
    if output is Output.JSON:
        text = json.dumps(plain, indent=2, ensure_ascii=False) + "\n"
    else:
        import yaml

        text = yaml.safe_dump(plain, sort_keys=False, allow_unicode=True, width=120)
    sys.stdout.write(text)
    sys.stdout.flush()


def emit_table(headings: Sequence[str], rows: Iterable[Sequence[RenderableType]]) -> None:
    """Write columns the way kubectl does: no frame, a heading, nothing wrapped where no terminal reads it."""
    data().print(columns(headings, rows, wrap=sys.stdout.isatty()), soft_wrap=not sys.stdout.isatty())


def columns(headings: Sequence[str], rows: Iterable[Sequence[RenderableType]], *, wrap: bool) -> RenderableType:
    """A table without a frame. Strings are shown as they are, never read as markup."""
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 2, 0, 0))
    for heading in headings:
        table.add_column(heading, no_wrap=not wrap, overflow="fold")
    for row in rows:
        table.add_row(*(Text(cell) if isinstance(cell, str) else cell for cell in row))
    return table


def _plain(document: object) -> object:
    from pydantic_core import to_jsonable_python

    return to_jsonable_python(document)
