"""One released module as text and compiled code, shared by all generations that contain it unchanged."""

import hashlib
import linecache
import threading
import weakref
from importlib.util import decode_source
from types import CodeType
from typing import Final

_HEX_DIGITS: Final = 8
"""Digits of the source's digest in a file name: for people to tell two versions apart in a traceback."""


class ModuleSource:
    """Source and code of a module. Make them with `compiled`, which reuses what is in memory already."""

    def __init__(self, name: str, source: bytes, digest: str) -> None:
        """Compile the source.

        Raises:
            SyntaxError, ValueError: where it does not compile.
        """
        self.name = name
        self.digest = digest
        self.text: str = decode_source(source)
        # In angle brackets, since there is no file: debuggers and coverage then do not look for one.
        self.file_name = f"<taskroll sha256:{digest[:_HEX_DIGITS]}… {name}>"
        # `dont_inherit`: the __future__ imports of this file must not leak into the released module.
        self.code: CodeType = compile(source, self.file_name, "exec", dont_inherit=True)
        # linecache asks no loader for names in brackets, so the lines are put there; size and no time stamp mean
        # «keep».
        lines = self.text.splitlines(keepends=True)
        linecache.cache[self.file_name] = (len(source), None, lines, self.file_name)
        weakref.finalize(self, linecache.cache.pop, self.file_name, None).atexit = False


_in_memory: "weakref.WeakValueDictionary[tuple[str, str], ModuleSource]" = weakref.WeakValueDictionary()
_lock = threading.Lock()


def compiled(name: str, source: bytes) -> ModuleSource:
    """Return the compiled module, the same object as long as any generation holds it.

    Raises:
        SyntaxError, ValueError: where it does not compile.
    """
    digest = hashlib.sha256(source).hexdigest()
    with _lock:
        module = _in_memory.get((name, digest))
    if module is None:
        module = ModuleSource(name, source, digest)
        with _lock:
            module = _in_memory.setdefault((name, digest), module)
    return module
