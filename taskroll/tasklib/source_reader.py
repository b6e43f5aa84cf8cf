"""The child process that parses sources, and what it finds in them. Standard library only; it runs none of them.

Python's own parser can end its process: one comprehension with 60,000 ``for`` clauses is a segmentation fault in 3.11,
an import of 250,000 dotted parts or an f-string with as many fields takes minutes (both measured, both well under the
size limit of a source). So text that came from somebody else is parsed here, in a process of its own with limits of
time and memory, and not in a worker. `source_facts` starts it; this file is run as a script with ``python -I -S``.

Protocol: a line ``{"ready": true}``, then one JSON object per line in and one per line out, in order. A line that
never comes names the culprit.
"""

import ast
import json
import sys
import warnings
from collections.abc import Iterator
from importlib.util import resolve_name
from typing import Any

CPU_SECONDS = 1.0
BYTES_PER_CPU_SECOND = 100_000
"""A source may take `CPU_SECONDS` and one more for each so many characters. Ordinary code takes a twentieth of that
on the project's two-core machines: 10 ms for 30 KB, 0.3 s for 512 KiB."""
MEMORY_BYTES = 2 << 30
"""Address space of the child. The tree of 512 KiB of one-letter statements takes about 0.4 GiB."""
MAX_MESSAGE = 200
MAX_NAME = 1000
"""Characters of a dotted name, and dots before it: more than a module of a definition can have. What follows is cut."""
MAX_SNIPPET = 80
"""Characters kept of a type, default or signature: enough to recognise it, too little to carry a source."""

_GUARDS = {"ImportError", "ModuleNotFoundError", "Exception", "BaseException"}
_STATEMENTS = (ast.stmt, ast.excepthandler, ast.match_case)


def read_source(text: str, target: tuple[int, int], shapes: bool) -> dict[str, Any]:
    """Facts of one source as JSON: ``error``, or what `source_facts.SourceFacts` says. `shapes` asks for classes."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            tree = ast.parse(text, feature_version=target)
            # The parser alone passes a `return` outside of a function or a wrong `nonlocal`; compiling finds those.
            compile(text, "<source>", "exec", dont_inherit=True)
        return _Facts(tree, text).as_dict(shapes)
    except SyntaxError as error:
        return _fault("syntax", error.msg, error.lineno, error.offset)
    except ValueError as error:
        return _fault("nul-byte" if "null bytes" in str(error) else "syntax", str(error))
    except (RecursionError, MemoryError):
        return _fault("too-deep", "nested too deeply, or too large, for Python's parser")


def _fault(code: str, message: str, line: int | None = None, column: int | None = None) -> dict[str, Any]:
    return {"error": {"code": code, "message": message[:MAX_MESSAGE], "line": line, "column": column}}


class _Facts:
    """One walk over the statements of a module. Expressions are visited only where something asks for them."""

    def __init__(self, tree: ast.Module, text: str) -> None:
        self._tree = tree
        self._text = text
        self._dynamic = "import_module" in text or "__import__" in text
        self.imports: list[tuple[str, int, str, list[str] | None, int]] = []
        self.unreadable: list[int] = []
        self.classes: dict[str, int] = {}
        self.bound: set[str] = set()
        self._stand_for: dict[str, tuple[int, str]] = {}
        for node, kind, top in self._statements():
            self._read(node, kind, top)

    def as_dict(self, shapes: bool) -> dict[str, Any]:
        return {
            "error": None,
            "imports": self.imports,
            "attributes": sorted(self._attributes()),
            "unreadable": self.unreadable,
            "classes": self.classes,
            "bound": sorted(self.bound),
            "shapes": [_shape(node) for node in self._tree.body if isinstance(node, ast.ClassDef)] if shapes else None,
        }

    def _statements(self) -> Iterator[tuple[ast.AST, str, bool]]:
        """Each statement with how it runs (see `source_facts.ImportKind`) and whether it binds names of the module."""
        stack: list[tuple[ast.AST, str, bool]] = [(node, "runtime", True) for node in reversed(self._tree.body)]
        while stack:
            node, kind, top = stack.pop()
            yield node, kind, top
            for block, block_kind, block_top in reversed(list(_blocks(node, kind, top))):
                stack.extend((child, block_kind, block_top) for child in reversed(block))

    def _read(self, node: ast.AST, kind: str, top: bool) -> None:
        match node:
            case ast.Import():
                for name in node.names:
                    self.imports.append((kind, 0, name.name[:MAX_NAME], None, node.lineno))
                    bound = name.asname or name.name.partition(".")[0]
                    self._stand_for[bound] = (0, name.name if name.asname else bound)
            case ast.ImportFrom():
                module, level = (node.module or "")[:MAX_NAME], min(node.level, MAX_NAME)
                names = [name.name[:MAX_NAME] for name in node.names]
                self.imports.append((kind, level, module, names, node.lineno))
                for name in node.names:
                    self._stand_for[name.asname or name.name] = (level, f"{module}.{name.name}".lstrip("."))
            case _:
                pass
        if self._dynamic:
            self._read_dynamic(node, kind)
        if top:
            self._read_names(node)

    def _read_names(self, node: ast.AST) -> None:
        match node:
            case ast.ClassDef():
                self.classes.setdefault(node.name, node.lineno)
            case ast.FunctionDef() | ast.AsyncFunctionDef():
                self.bound.add(node.name)
            case ast.Import() | ast.ImportFrom():
                self.bound.update(name.asname or name.name.partition(".")[0] for name in node.names)
            case ast.Assign() | ast.AnnAssign():
                targets = node.targets if isinstance(node, ast.Assign) else [node.target]
                if node.value is not None:
                    self.bound.update(t.id for part in targets for t in ast.walk(part) if isinstance(t, ast.Name))
            case _:
                pass

    def _read_dynamic(self, node: ast.AST, kind: str) -> None:
        for child in ast.iter_child_nodes(node):
            if isinstance(child, _STATEMENTS):
                continue
            for call in ast.walk(child):
                if not isinstance(call, ast.Call):
                    continue
                function = call.func
                called = function.attr if isinstance(function, ast.Attribute) else getattr(function, "id", "")
                if called not in ("import_module", "__import__"):
                    continue
                if (found := _literal_import(call)) is None:
                    self.unreadable.append(call.lineno)
                else:
                    self.imports.append((kind, min(found[0], MAX_NAME), found[1][:MAX_NAME], None, call.lineno))

    def _attributes(self) -> set[tuple[int, str]]:
        """Dotted uses of imported names: ``task.unit.encoder`` after ``from lib import task`` reaches a module, too."""
        names = {
            name: place
            for name, place in self._stand_for.items()
            if place[0] or place[1].partition(".")[0] not in sys.stdlib_module_names
        }
        found: set[tuple[int, str]] = set()
        if not any(f"{name}." in self._text for name in names):
            return found
        for node in ast.walk(self._tree):
            if isinstance(node, ast.Attribute):
                parts = [node.attr]
                value = node.value
                while isinstance(value, ast.Attribute):
                    parts.append(value.attr)
                    value = value.value
                if isinstance(value, ast.Name) and value.id in names:
                    level, path = names[value.id]
                    found.add((level, ".".join([path, *reversed(parts)])[:MAX_NAME]))
        return found


def _blocks(node: ast.AST, kind: str, top: bool) -> Iterator[tuple[list[ast.AST], str, bool]]:
    """The blocks of statements in a compound statement, with how each runs."""
    match node:
        case ast.FunctionDef() | ast.AsyncFunctionDef():
            yield list(node.body), kind if kind == "not_run" else "deferred", False
        case ast.ClassDef():
            yield list(node.body), kind, False
        case ast.If():
            then, otherwise = _branches(node.test)
            yield list(node.body), kind if then else "not_run", top and then
            yield list(node.orelse), kind if otherwise else "not_run", top and otherwise
        case ast.Try() | ast.TryStar():
            guarded = kind == "runtime" and any(_guards(handler.type) for handler in node.handlers)
            yield list(node.body), "guarded" if guarded else kind, top
            for block in (*(handler.body for handler in node.handlers), node.orelse, node.finalbody):
                yield list(block), kind, top
        case ast.For() | ast.AsyncFor() | ast.While():
            yield list(node.body), kind, top
            yield list(node.orelse), kind, top
        case ast.With() | ast.AsyncWith():
            yield list(node.body), kind, top
        case ast.Match():
            for case in node.cases:
                yield list(case.body), kind, top
        case _:
            pass


def _branches(test: ast.expr) -> tuple[bool, bool]:
    """Whether the body and the ``else`` of an ``if`` can run in a service."""
    if isinstance(test, ast.UnaryOp) and isinstance(test.op, ast.Not):
        then, otherwise = _branches(test.operand)
        return otherwise, then
    name = test.attr if isinstance(test, ast.Attribute) else getattr(test, "id", "")
    main = (
        isinstance(test, ast.Compare)
        and isinstance(test.ops[0], ast.Eq)
        and any(isinstance(part, ast.Name) and part.id == "__name__" for part in (test.left, *test.comparators))
    )
    never = name == "TYPE_CHECKING" or main
    return not never, True


def _guards(caught: ast.expr | None) -> bool:
    if caught is None:
        return True
    parts = caught.elts if isinstance(caught, ast.Tuple) else [caught]
    return any(isinstance(part, ast.Name) and part.id in _GUARDS for part in parts)


def _literal_import(call: ast.Call) -> tuple[int, str] | None:
    """Level and module of ``import_module("…")``; None where the name is not written there as a literal."""
    given = dict(zip(("name", "package"), call.args, strict=False))
    given.update({word.arg: word.value for word in call.keywords if word.arg in ("name", "package")})
    name, package = given.get("name"), given.get("package")
    if not (isinstance(name, ast.Constant) and isinstance(name.value, str) and name.value):
        return None
    if not name.value.startswith("."):
        return 0, name.value
    if isinstance(package, ast.Constant) and isinstance(package.value, str):
        try:
            return 0, resolve_name(name.value, package.value)
        except ImportError:
            return None
    if isinstance(package, ast.Name) and package.id == "__package__":
        bare = name.value.lstrip(".")
        return len(name.value) - len(bare), bare
    return None


def _shape(node: ast.ClassDef) -> dict[str, Any]:
    """Bases, fields and methods of a class as texts. Fields are annotated attributes that pydantic would take."""
    fields: dict[str, tuple[str, str | None]] = {}
    methods: dict[str, str] = {}
    for item in node.body:
        if isinstance(item, ast.AnnAssign) and isinstance(item.target, ast.Name):
            kind = _snippet(item.annotation)
            if not item.target.id.startswith("_") and not kind.removeprefix("typing.").startswith("ClassVar"):
                fields[_cut(item.target.id)] = (kind, _snippet(item.value) if item.value is not None else None)
        elif isinstance(item, ast.FunctionDef | ast.AsyncFunctionDef):
            prefix = "async " if isinstance(item, ast.AsyncFunctionDef) else ""
            returns = f" -> {_snippet(item.returns)}" if item.returns else ""
            methods[_cut(item.name)] = _cut(f"{prefix}({ast.unparse(item.args)}){returns}")
    bases = [_snippet(base) for base in node.bases]
    return {"name": _cut(node.name), "bases": bases, "fields": fields, "methods": methods}


def _snippet(node: ast.expr) -> str:
    return _cut(ast.unparse(node))


def _cut(text: str) -> str:
    if len(text) <= MAX_SNIPPET:
        return text
    import hashlib

    # Two long texts that differ only behind the cut must not look the same.
    mark = hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:8]
    return f"{text[: MAX_SNIPPET - 10]}…#{mark}"


def main() -> None:
    """Answer requests from standard input until it ends."""
    import gc
    import resource
    import signal

    # A tree has no cycles and goes when it is read; collecting would take a quarter of the time.
    gc.disable()

    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    # The parser looks at no Python signal handler while it works: the signal's own action, the end, is what helps.
    signal.signal(signal.SIGVTALRM, signal.SIG_DFL)
    _answer({"ready": True})
    for line in sys.stdin.buffer:
        request = json.loads(line)
        major, minor = request["target"]
        text = request["text"]
        signal.setitimer(signal.ITIMER_VIRTUAL, CPU_SECONDS + len(text) / BYTES_PER_CPU_SECOND)
        facts = read_source(text, (major, minor), request["shapes"])
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        _answer(facts)


def _answer(value: dict[str, Any]) -> None:
    sys.stdout.buffer.write(json.dumps(value).encode() + b"\n")
    sys.stdout.buffer.flush()


if __name__ == "__main__":
    main()
