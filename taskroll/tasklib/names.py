"""Names: what a module, a class and a custom resource may be called, and how Cornserve's tool names the resource."""

import keyword
import re
from collections.abc import Iterable

from taskroll_agent.contracts import DefinitionKey, revision_name

MAX_PART_LENGTH = 128
"""Characters in one part of a module name, or in a class name. A file name may have 255 bytes on Linux; half of that
leaves room for ``.cpython-313.opt-2.pyc`` and for a temporary suffix."""
MAX_MODULE_LENGTH = 512
"""Characters in a dotted module name. A path may have 4096 bytes on Linux; services put their own folder before it."""
MAX_RESOURCE_NAME = 253
"""Characters in the name of a Kubernetes object (RFC 1123 subdomain)."""

_IDENTIFIER = re.compile(r"[A-Za-z_][A-Za-z0-9_]*", re.ASCII)
_SUBDOMAIN = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*", re.ASCII)
# A word begins at a capital that follows a non-capital, and at a capital before a non-capital: MLLMTask → mllm-task.
# A digit is a non-capital: LLM2Task → ll-m2-task. Odd, but it is the name that Cornserve's tool gives.
_WORD_START = re.compile(r"(?<=[^A-Z])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][^A-Z])", re.ASCII)


def resource_name(class_name: str) -> str:
    """The name of the custom resource of a class, exactly as Cornserve's deploy tool forms it (kebab case).

    ``EncoderTask`` → ``encoder-task``, ``_Base`` → ``base``. Two classes may get the same one;
    `check_sources` says so.
    """
    kebab = _WORD_START.sub("-", class_name).lower()
    return re.sub(r"-{2,}", "-", re.sub(r"[^a-z0-9.-]", "-", kebab)).strip("-.")


def identifier_fault(name: str) -> str | None:
    """Why a name cannot be one part of a module name or a class name; None where it can.

    ASCII only, although Python allows more: the name becomes a file name in services, and letters that look alike
    would name two classes.
    """
    if name.isidentifier() and not name.isascii():
        return "has letters beyond ASCII: Python takes them, and taskroll wants ASCII"
    if not _IDENTIFIER.fullmatch(name):
        return "is not an identifier of ASCII letters, digits and underscores"
    if keyword.iskeyword(name):
        return "is a keyword of Python"
    if len(name) > MAX_PART_LENGTH:
        return f"has {len(name)} characters; {MAX_PART_LENGTH} are allowed"
    return None


def module_name_fault(name: str) -> str | None:
    """Why a text cannot be a dotted module name; None where it can. Slashes and ``..`` never can."""
    if not name:
        return "is empty"
    if len(name) > MAX_MODULE_LENGTH:
        return f"has {len(name)} characters; {MAX_MODULE_LENGTH} are allowed"
    for part in name.split("."):
        if not part:
            return "has an empty part (two dots, or a dot at its beginning or end)"
        if (fault := identifier_fault(part)) is not None:
            return f"has a part that {fault}"
    return None


def resource_name_fault(key: DefinitionKey) -> str | None:
    """Why a definition's custom resource cannot have this name; None where it can.

    Its revision's name is longer and has to fit as well.
    """
    if not _SUBDOMAIN.fullmatch(key.name):
        return "is not a Kubernetes name of lower case letters, digits, '-' and '.'"
    if (length := len(revision_name(key, "sha256:" + "0" * 64))) > MAX_RESOURCE_NAME:
        return f"is too long: its revision's name would have {length} characters; {MAX_RESOURCE_NAME} are allowed"
    return None


def listed(names: Iterable[str], separator: str = ", ", limit: int = 6) -> str:
    """The first of some names, and how many more there are, for a message."""
    every = list(names)
    rest = [f"and {len(every) - limit} more"] if len(every) > limit else []
    return separator.join([name if len(name) <= 120 else f"{name[:119]}…" for name in every[:limit]] + rest)


def shown(name: str) -> str:
    """A name from untrusted input, quoted, cut and free of control characters, for a message."""
    text = repr(name)
    return text if len(text) <= 80 else text[:76] + "…'"
