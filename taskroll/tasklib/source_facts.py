"""What stands in sources, read without running them and without trusting them: the parser works in a child process."""

import hashlib
import json
import subprocess
import sys
import threading
import time
from collections import OrderedDict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

ImportKind = Literal["runtime", "guarded", "deferred", "not_run"]
"""How an import runs: when the module is imported; in a ``try`` that catches the failure; when a function is called;
never in a service (under ``TYPE_CHECKING`` or ``__name__ == "__main__"``)."""

_READER = Path(__file__).with_name("source_reader.py")
_KEPT = 2048
"""Facts kept by digest of the text, so that a plan reads each source once although graph, checks and diff ask."""
_WALL_SECONDS = 60.0
_WALL_SECONDS_PER_SOURCE = 0.5
"""Time for all sources of a call together: a hundred times what 200 ordinary ones of 30 KB take on an idle machine."""
_MAX_CULPRITS = 5
"""Sources that may end a child before the rest is not looked at any more: each costs a new child and some seconds."""

Target = tuple[int, int]
"""Version of Python that services run, as (major, minor)."""
THIS_PYTHON: Target = (sys.version_info.major, sys.version_info.minor)


@dataclass(frozen=True, slots=True)
class Fault:
    """Why a source could not be read. `code` is one of `problems.Code`."""

    code: Literal["syntax", "nul-byte", "too-deep", "unreadable"]
    message: str
    line: int | None = None
    column: int | None = None


@dataclass(frozen=True, slots=True)
class ImportStatement:
    """``import module`` (names None) or ``from <dots>module import names``."""

    kind: ImportKind
    level: int
    module: str
    names: tuple[str, ...] | None
    line: int


@dataclass(frozen=True, slots=True)
class ClassShape:
    """A class as written: bases, annotated fields (type, default), methods (signature). Long texts are cut."""

    name: str
    bases: tuple[str, ...]
    fields: Mapping[str, tuple[str, str | None]]
    methods: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class SourceFacts:
    """Facts of one source, whatever module it becomes. With a `fault` all the rest is empty."""

    fault: Fault | None = None
    imports: tuple[ImportStatement, ...] = ()
    attributes: tuple[tuple[int, str], ...] = ()
    """Dotted uses of imported names, as (level, path)."""
    unreadable_imports: tuple[int, ...] = ()
    """Lines with ``import_module(<not a literal>)``."""
    classes: Mapping[str, int] | None = None
    """Top-level class statements → line, also those inside of a top-level ``if``, ``try`` or ``with``."""
    bound: frozenset[str] = frozenset()
    """Other names that the module binds at its top level."""
    shapes: tuple[ClassShape, ...] | None = None
    """Top-level classes; None where they were not asked for."""


_cache: OrderedDict[tuple[str, Target, bool], SourceFacts] = OrderedDict()
_cache_lock = threading.Lock()


def read_sources(texts: Iterable[str], *, target: Target = THIS_PYTHON, shapes: bool = False) -> dict[str, SourceFacts]:
    """Read each text once; the answer is by text.

    A text that ends or stalls Python's parser costs its own facts (fault ``unreadable``) and the start of another
    child, nothing more, up to a handful of such texts. 200 sources of 30 KB take about 1.2 s on one core, 5 ms each.

    Raises:
        OSError: where no child process can be started.
    """
    found: dict[str, SourceFacts] = {}
    waiting: dict[str, tuple[str, Target, bool]] = {}
    with _cache_lock:
        for text in texts:
            key = (hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest(), target, shapes)
            if (known := _cache.get(key)) is not None:
                _cache.move_to_end(key)
                found[text] = known
            else:
                waiting[text] = key
    pending = list(waiting)
    culprits = 0
    deadline = time.monotonic() + _WALL_SECONDS + _WALL_SECONDS_PER_SOURCE * len(pending)
    while pending and culprits < _MAX_CULPRITS and (seconds := deadline - time.monotonic()) > 0:
        answers, ending = _run_reader(pending, target, shapes, seconds)
        for text, answer in zip(pending, answers, strict=False):
            found[text] = _facts(answer)
        if len(answers) < len(pending):
            culprits += 1
            found[pending[len(answers)]] = SourceFacts(fault=Fault("unreadable", ending))
        pending = pending[len(answers) + 1 :]
    for text in pending:
        found[text] = SourceFacts(fault=Fault("unreadable", "not looked at, since other sources took too long"))
    with _cache_lock:
        for text, key in waiting.items():
            # What a loaded machine made of a source is not kept: the next look may succeed.
            if (fault := found[text].fault) is None or fault.code != "unreadable":
                _cache[key] = found[text]
        while len(_cache) > _KEPT:
            _cache.popitem(last=False)
    return found


def _run_reader(texts: list[str], target: Target, shapes: bool, seconds: float) -> tuple[list[dict[str, Any]], str]:
    """Answers of one child, as many as it gave, and how it ended."""
    requests = b"".join(
        json.dumps({"text": text, "target": target, "shapes": shapes}).encode() + b"\n" for text in texts
    )
    command = [sys.executable, "-I", "-S", str(_READER)]
    # The command is this interpreter and a file of this package; sources go through standard input.
    with subprocess.Popen(  # noqa: S603
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as child:
        try:
            output, complaint = child.communicate(requests, timeout=seconds)
            code = child.returncode
            ending = f"Python's parser ended on it ({'signal ' + str(-code) if code < 0 else 'exit code ' + str(code)})"
        except subprocess.TimeoutExpired:
            child.kill()
            output, complaint = child.communicate()
            ending = "Python's parser took too long on it"
    lines = output.split(b"\n")[:-1]
    if not lines:
        last = (complaint.decode(errors="replace").strip().splitlines() or [ending])[-1]
        raise OSError(f"the child process that parses sources did not start: {last[:300]}")
    return [json.loads(line) for line in lines[1:]], ending


def _facts(answer: dict[str, Any]) -> SourceFacts:
    if (error := answer["error"]) is not None:
        return SourceFacts(fault=Fault(error["code"], error["message"], error["line"], error["column"]))
    shapes = answer["shapes"]
    return SourceFacts(
        imports=tuple(
            ImportStatement(kind, level, module, None if names is None else tuple(names), line)
            for kind, level, module, names, line in answer["imports"]
        ),
        attributes=tuple((level, path) for level, path in answer["attributes"]),
        unreadable_imports=tuple(answer["unreadable"]),
        classes=answer["classes"],
        bound=frozenset(answer["bound"]),
        shapes=None if shapes is None else tuple(_class_shape(shape) for shape in shapes),
    )


def _class_shape(shape: dict[str, Any]) -> ClassShape:
    return ClassShape(
        name=shape["name"],
        bases=tuple(shape["bases"]),
        fields={name: (kind, default) for name, (kind, default) in shape["fields"].items()},
        methods=shape["methods"],
    )
