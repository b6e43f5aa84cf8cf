"""What a task package says about itself: the table ``[tool.taskroll]`` of a ``pyproject.toml`` in or above it."""

import difflib
import re
import tomllib
from pathlib import Path
from typing import Annotated, Any, cast

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, PrivateAttr, ValidationError

from .names import module_name_fault

RESERVED_PREFIX = "taskroll.dev/"
"""taskroll's own marks on objects; a package cannot set them."""

_LABEL_NAME = r"[A-Za-z0-9](?:[-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?"
_LABEL_VALUE = re.compile(rf"(?:{_LABEL_NAME})?", re.ASCII)
_KEY = re.compile(rf"(?:[a-z0-9](?:[-a-z0-9.]{{0,251}}[a-z0-9])?/)?{_LABEL_NAME}", re.ASCII)
MAX_ANNOTATIONS_BYTES = 16 * 1024
"""Of all annotations together. Kubernetes allows 256 KiB for an object, most of which other tools need."""


class PackageConfigError(ValueError):
    """The table, or the file that it stands in, is wrong. The message names file, field, value and way out."""


def _dotted(value: str) -> str:
    if (fault := module_name_fault(value)) is not None:
        raise ValueError(f"{fault}; write a dotted path such as package.module.Name")
    return value


def _class_path(value: str) -> str:
    if "." not in _dotted(value):
        raise ValueError("names no module; write package.module.ClassName")
    return value


def _module_pattern(value: str) -> str:
    if not re.fullmatch(r"[\w.*?\[\]!-]+", value):
        raise ValueError("is no pattern of module names; write it like package.tests or package.*.tests")
    return value


def _key(value: str) -> str:
    if not _KEY.fullmatch(value):
        raise ValueError(
            "is no Kubernetes key; write name or prefix.example/name, at most 63 characters after the slash"
        )
    if value.startswith(RESERVED_PREFIX):
        raise ValueError(
            f"begins with {RESERVED_PREFIX}, which taskroll keeps for its own marks; use a prefix of yours"
        )
    return value


def _label_value(value: str) -> str:
    if not _LABEL_VALUE.fullmatch(value):
        raise ValueError(
            "is no label value: at most 63 letters, digits, '-', '_', '.'; make it an annotation otherwise"
        )
    return value


def _all_annotations(value: dict[str, str]) -> dict[str, str]:
    size = sum(len(key.encode()) + len(text.encode()) for key, text in value.items())
    if size > MAX_ANNOTATIONS_BYTES:
        raise ValueError(f"have {size} bytes together; {MAX_ANNOTATIONS_BYTES} are allowed")
    return value


ClassPaths = tuple[Annotated[str, AfterValidator(_class_path)], ...]
Key = Annotated[str, AfterValidator(_key)]


class TaskBases(BaseModel):
    """The classes that make a class a definition, by the dotted path under which packages import them."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    unit_task: ClassPaths = ("cornserve.task.base.UnitTask",)
    composite_task: ClassPaths = ("cornserve.task.base.Task",)
    """A class with a base of both kinds is a unit task: Cornserve's UnitTask derives from its Task."""
    descriptor: ClassPaths = ("cornserve.task_executors.descriptor.base.TaskExecutionDescriptor",)

    def all(self) -> frozenset[str]:
        return frozenset((*self.unit_task, *self.composite_task, *self.descriptor))


class PackageConfig(BaseModel):
    """The table ``[tool.taskroll]``. Without one: Cornserve's base classes, nothing excluded, no metadata."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    bases: TaskBases = Field(default_factory=TaskBases)
    source_root: str | None = None
    """Folder that module names count from, relative to the file. Without it: the folder above the topmost one that
    has an ``__init__.py``, going up from the package path."""
    search_paths: tuple[str, ...] = ()
    """Folders, relative to the file, where packages of base classes are looked for: to be read, never imported."""
    exclude: tuple[Annotated[str, AfterValidator(_module_pattern)], ...] = ()
    """Patterns of names of modules without definitions, ``*`` for any text. What is under such a module is out, too."""
    provided: tuple[Annotated[str, AfterValidator(_dotted)], ...] = ()
    """Modules under the package's own name that services have installed themselves."""
    labels: dict[Key, Annotated[str, AfterValidator(_label_value)]] = Field(default_factory=dict)
    annotations: Annotated[dict[Key, str], AfterValidator(_all_annotations)] = Field(default_factory=dict)

    _file: Path | None = PrivateAttr(default=None)

    @property
    def file(self) -> Path | None:
        """The ``pyproject.toml`` that it was read from."""
        return self._file

    def path(self, relative: str) -> Path:
        """A path of the table, made absolute."""
        return ((self._file.parent if self._file else Path.cwd()) / relative).resolve()


def load_package_config(path: Path) -> PackageConfig:
    """Read the table of the nearest ``pyproject.toml`` that has one, in the folder `path` or above it.

    The search ends at the top of a Git repository, so that a file in a home folder does not decide.

    Raises:
        PackageConfigError: where a file on the way cannot be read or parsed, or its table is wrong.
    """
    start = path.resolve()
    for folder in (start, *start.parents):
        file = folder / "pyproject.toml"
        if file.is_file():
            table = _table(file)
            if table is not None:
                return _validated(table, file)
        if (folder / ".git").exists():
            break
    return PackageConfig()


def _table(file: Path) -> dict[str, Any] | None:
    try:
        document = tomllib.loads(file.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise PackageConfigError(
            f"{file}: cannot be read ({error}); taskroll looks for [tool.taskroll] in it"
        ) from error
    except tomllib.TOMLDecodeError as error:
        raise PackageConfigError(f"{file}: is not valid TOML: {error}") from error
    table: dict[str, Any] = document
    for name in ("tool", "taskroll"):
        inner: Any = table.get(name)
        if inner is None:
            return None
        if not isinstance(inner, dict):
            raise PackageConfigError(f"{file}: {name} is {inner!r}; write it as a table, [tool.taskroll]")
        table = cast("dict[str, Any]", inner)
    return table


def _validated(table: dict[str, Any], file: Path) -> PackageConfig:
    try:
        config = PackageConfig.model_validate(table)
    except ValidationError as error:
        lines = [_line(dict(item), table) for item in error.errors(include_url=False)]
        raise PackageConfigError("\n".join(f"{file}: [tool.taskroll] {line}" for line in lines)) from error
    config._file = file  # pyright: ignore[reportPrivateUsage]
    for relative in (*config.search_paths, *filter(None, [config.source_root])):
        if not config.path(relative).is_dir():
            field = "source_root" if relative == config.source_root else "search_paths"
            raise PackageConfigError(
                f"{file}: [tool.taskroll] {field}: {relative!r} is no folder ({config.path(relative)}); "
                "write it relative to this file"
            )
    return config


def _line(error: dict[str, Any], table: dict[str, Any]) -> str:
    """One line of pydantic's findings: field, value, way out."""
    place: tuple[Any, ...] = error["loc"]
    field = ".".join(str(part) for part in place if part != "[key]")
    if error["type"] == "extra_forbidden":
        model = TaskBases if place[0] == "bases" else PackageConfig
        known = sorted(model.model_fields)
        near = difflib.get_close_matches(str(place[-1]), known, n=1)
        meant = f"; did you mean {near[0]}?" if near else "."
        return f"{field}: unknown field{meant} Known: {', '.join(known)}"
    value = ascii(error["input"])
    reason = str(error.get("ctx", {}).get("error") or error["msg"])
    return f"{field}: {value if len(value) <= 100 else value[:97] + '…'} {_said(reason, error['type'])}"


def _said(reason: str, kind: str) -> str:
    advice = {
        "tuple_type": 'is no list; write ["…"]',
        "dict_type": 'is no table; write { key = "value" }',
        "string_type": "is no text; put it in quotes",
        "model_type": "is no table; write [tool.taskroll.bases]",
    }
    return advice.get(kind, reason)
