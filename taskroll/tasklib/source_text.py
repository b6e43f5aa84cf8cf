"""The bytes of a definition's source as text, or why they are none."""

import codecs
import re

from taskroll_agent.contracts import DefinitionContent

from .problems import SourceProblem

MAX_SOURCE_BYTES = 512 * 1024
"""Per module. A resource carries the source in base64, which makes 683 KiB of it; with metadata and a copy that
``kubectl apply`` or a server-side apply may add, that still fits etcd's request limit of 1.5 MiB, in the custom
resource and in the ``ControllerRevision`` alike."""

_DECLARATION = re.compile(rb"^[ \t\f]*#.*?coding[:=][ \t]*([-_.a-zA-Z0-9]+)")
_BLANK = re.compile(rb"^[ \t\f]*(?:[#\r\n]|$)")


def text_of(definition: DefinitionContent) -> tuple[str | None, list[SourceProblem]]:
    """The source as text, and what is wrong with its bytes. No text where it must not be parsed."""
    key, module = str(definition.key), definition.module
    try:
        data = definition.source()
    except ValueError as error:
        return None, [
            SourceProblem(
                code="source-missing",
                severity="error",
                definition=key,
                message=str(error).removeprefix(f"{key}: "),
                hint="spec.sourceCode is the whole module, UTF-8, in base64.",
            )
        ]
    return checked_text(data, module)


def checked_text(data: bytes, module: str) -> tuple[str | None, list[SourceProblem]]:
    """As `text_of`, of the bytes of a module."""
    if len(data) > MAX_SOURCE_BYTES:
        return None, [
            SourceProblem(
                code="too-large",
                severity="error",
                module=module,
                message=f"the source has {len(data)} bytes; {MAX_SOURCE_BYTES} are allowed",
                hint="Split the module; data belongs into files that services read, not into source.",
            )
        ]
    if (position := data.find(b"\0")) >= 0:
        return None, [
            SourceProblem(
                code="nul-byte",
                severity="error",
                module=module,
                line=data.count(b"\n", 0, position) + 1,
                message="the source has a NUL byte",
                hint="Save the file as UTF-8; UTF-16 looks like this.",
            )
        ]
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        return None, [
            SourceProblem(
                code="not-utf8",
                severity="error",
                module=module,
                line=data.count(b"\n", 0, error.start) + 1,
                message=f"the source is not UTF-8: {error.reason} at byte {error.start}",
                hint="Save the file as UTF-8.",
            )
        ]
    if (declared := _declared_encoding(data)) is not None:
        line, encoding = declared
        return None, [
            SourceProblem(
                code="not-utf8",
                severity="error",
                module=module,
                line=line,
                message=f"the source declares the encoding {encoding!r}; services would read it so, but get UTF-8",
                hint="Save the file as UTF-8 and remove the declaration.",
            )
        ]
    # A byte order mark is no part of the text: Python passes over it in a file.
    return text.removeprefix("\ufeff"), []


def _declared_encoding(data: bytes) -> tuple[int, str] | None:
    """Line and name of an encoding declaration other than UTF-8 (PEP 263: in one of the first two lines)."""
    for number, line in enumerate(data.split(b"\n", 2)[:2], start=1):
        if match := _DECLARATION.match(line):
            name = match.group(1).decode("ascii")
            try:
                known = codecs.lookup(name).name
            except LookupError:
                known = name
            return None if known in ("utf-8", "utf-8-sig") else (number, name[:40])
        if not _BLANK.match(line):
            return None
    return None
