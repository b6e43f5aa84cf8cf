"""From an exception to an `ImportProblem` that says where and what, and never holds source text.

An exception's own message may quote the source: ``raise ValueError("…")`` does, and ``int("…")`` repeats its argument.
The answer of an agent ends in the history of a workflow, so only what the interpreter itself says about names and
syntax goes into it. The whole message is in this process's log.
"""

import re
from types import TracebackType
from typing import Final

from pydantic.errors import PydanticUserError

from .contracts import ImportProblem
from .module_set import NotLoaded

_CANNOT_IMPORT: Final = re.compile(r"cannot import name '(\w+)' from (?:partially initialized module )?'([\w.]+)'")
"""The interpreter's own wording; Python 3.11 has the name nowhere else. Lets nothing but identifiers through."""


def import_problem(definition: str, module: str, file_name: str, error: BaseException) -> ImportProblem:
    """Say why a definition cannot be loaded: type of the error, module, line, and the names concerned."""
    kind = type(error).__name__
    line = error.lineno if isinstance(error, SyntaxError) else _last_line(error.__traceback__, file_name)
    try:
        what = _what(error)
    except BaseException:  # noqa: BLE001  the class is the module's own: its attributes may raise anything
        what = f"{kind} was raised"
    place = module if line is None else f"{module}, line {line}"
    return ImportProblem(definition=definition, module=module, error=kind, message=f"{place}: {what}")


def rule_problem(definition: str, module: str, error: str, message: str) -> ImportProblem:
    """A problem that no exception stands for, such as a class that is absent."""
    return ImportProblem(definition=definition, module=module, error=error, message=message)


def described(error: BaseException) -> str:
    """Type and whole message, for this process's log. The class may be a module's own, whose ``__str__`` raises."""
    try:
        return f"{type(error).__name__}: {error}"
    except BaseException:  # noqa: BLE001
        return f"{type(error).__name__}: its message cannot be shown"


def _what(error: BaseException) -> str:
    name: str | None = getattr(error, "name", None)
    match error:
        case NotLoaded():
            return f"it imports {name}, which did not load"
        case SyntaxError():
            return error.msg
        case ModuleNotFoundError():
            return f"no module named {name}"
        case ImportError():
            if (error.msg or "").startswith("attempted relative import"):
                return error.msg
            found = _CANNOT_IMPORT.match(error.msg or "")
            return f"cannot import {found[1]} from {found[2]}" if found else "the import failed"
        case NameError():
            return f"name {name} is not defined"
        case AttributeError() if name:
            return f"no attribute {name}"
        case PydanticUserError():
            return f"pydantic: {error.code}"
        case _:
            return f"{type(error).__name__} was raised"


def _last_line(traceback: TracebackType | None, file_name: str) -> int | None:
    """The innermost line of the module that the error passed through."""
    line: int | None = None
    while traceback is not None:
        if traceback.tb_frame.f_code.co_filename == file_name:
            line = traceback.tb_lineno
        traceback = traceback.tb_next
    return line
