"""What differs between two versions of a definition, in words a person can check: lines, fields, methods."""

import difflib
from collections import Counter
from collections.abc import Mapping
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

from taskroll_agent.contracts import DefinitionContent

from .source_facts import ClassShape, read_sources

MAX_COMPARED = 4_000_000
"""Pairs of lines that are compared in their order, such as 2,000 changed lines on each side. Above that, added and
removed lines are counted without regard to it: `difflib` takes minutes for sources that are made for that."""
MAX_LISTED = 50
"""Classes, fields and methods that are listed for one definition."""
_MAX_VALUE = 120

Change = Literal["added", "removed", "changed"]


class _Model(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class FieldChange(_Model):
    """One annotated attribute of a class. Long types and defaults are cut, with a mark that tells two apart."""

    name: str
    change: Change
    type_before: str | None = None
    type_after: str | None = None
    default_before: str | None = None
    """None where it has none: a field that instances must give."""
    default_after: str | None = None


class MethodChange(_Model):
    name: str
    change: Change
    """``changed`` is about the signature. That only the body differs is not said: the lines show it."""
    signature_before: str | None = None
    signature_after: str | None = None


class ClassChange(_Model):
    """One class at the top level of the module, the definition's own or another one, such as its input."""

    name: str
    change: Change
    bases_before: tuple[str, ...] = ()
    bases_after: tuple[str, ...] = ()
    fields: tuple[FieldChange, ...] = ()
    methods: tuple[MethodChange, ...] = ()


class ValueChange(_Model):
    """One other value of the spec, or a label or annotation."""

    name: str
    before: str | None
    after: str | None


class ChangeSummary(_Model):
    """How a definition changes. Found in the text alone: what a base in another module brings is not seen."""

    definition: str
    change: Literal["created", "deleted", "changed", "unchanged"]
    lines_added: int = 0
    lines_removed: int = 0
    values: tuple[ValueChange, ...] = ()
    classes: tuple[ClassChange, ...] = ()
    """Empty where one of the sources is not valid Python, or where no signature differs."""
    not_listed: int = 0
    """Changes of classes, fields and methods above `MAX_LISTED`."""

    def __str__(self) -> str:
        if self.change in ("unchanged", "deleted"):
            return f"{self.definition}: {self.change}"
        return f"{self.definition}: {self.change}, +{self.lines_added} -{self.lines_removed} lines"


def describe_change(before: DefinitionContent | None, after: DefinitionContent | None) -> ChangeSummary:
    """Compare two versions of a definition; None for one that does not exist.

    Raises:
        ValueError: where both are None, or they are two definitions.
    """
    present = after if after is not None else before
    if present is None or (before is not None and before.key != present.key):
        raise ValueError("two versions of one definition are needed, one of them at least")
    if before is not None and after is not None and before.digest() == after.digest():
        return ChangeSummary(definition=str(present.key), change="unchanged")
    old, new = _text(before), _text(after)
    added, removed = _line_counts(old.splitlines(), new.splitlines())
    both = before is not None and after is not None
    classes, not_listed = _limited(_class_changes(old, new)) if both else ([], 0)
    return ChangeSummary(
        definition=str(present.key),
        change="created" if before is None else "deleted" if after is None else "changed",
        lines_added=added,
        lines_removed=removed,
        values=tuple(_value_changes(before, after)) if before is not None and after is not None else (),
        classes=tuple(classes),
        not_listed=not_listed,
    )


def unified_diff(before: DefinitionContent | None, after: DefinitionContent | None, *, context: int = 3) -> str:
    """The difference of the sources as text, "" where there is none. For a person's terminal, not for a record.

    Sources of thousands of lines that differ everywhere are shown as all old lines, then all new ones: `difflib` is
    quadratic then.
    """
    present = after if after is not None else before
    name = present.module.replace(".", "/") + ".py" if present is not None else ""
    old, new = _text(before).splitlines(keepends=True), _text(after).splitlines(keepends=True)
    names = (f"a/{name}" if before is not None else "/dev/null", f"b/{name}" if after is not None else "/dev/null")
    middle_old, middle_new = _differing(old, new)
    if len(middle_old) * len(middle_new) > MAX_COMPARED:
        lines = [f"--- {names[0]}\n", f"+++ {names[1]}\n", f"@@ -1,{len(old)} +1,{len(new)} @@\n"]
        lines += [f"-{line}" for line in old] + [f"+{line}" for line in new]
    else:
        lines = list(difflib.unified_diff(old, new, *names, n=context))
    return "".join(line if line.endswith("\n") else f"{line}\n\\ No newline at end of file\n" for line in lines)


def _text(definition: DefinitionContent | None) -> str:
    if definition is None:
        return ""
    try:
        return definition.source().decode("utf-8", errors="replace")
    except ValueError:
        return ""


def _line_counts(old: list[str], new: list[str]) -> tuple[int, int]:
    """Lines added and removed."""
    old, new = _differing(old, new)
    if len(old) * len(new) > MAX_COMPARED:
        before, after = Counter(old), Counter(new)
        return (after - before).total(), (before - after).total()
    added = removed = 0
    for tag, i1, i2, j1, j2 in difflib.SequenceMatcher(None, old, new).get_opcodes():
        if tag != "equal":
            removed += i2 - i1
            added += j2 - j1
    return added, removed


def _differing(old: list[str], new: list[str]) -> tuple[list[str], list[str]]:
    """Both without the lines that they begin and end with alike."""
    start = 0
    while start < min(len(old), len(new)) and old[start] == new[start]:
        start += 1
    end = 0
    while end < min(len(old), len(new)) - start and old[-1 - end] == new[-1 - end]:
        end += 1
    return old[start : len(old) - end], new[start : len(new) - end]


def _value_changes(before: DefinitionContent, after: DefinitionContent) -> list[ValueChange]:
    sides: list[dict[str, Any]] = []
    for side in (before, after):
        values: dict[str, Any] = {name: value for name, value in side.spec.items() if name != "sourceCode"}
        values |= {f"label {name}": value for name, value in side.metadata.labels.items()}
        values |= {f"annotation {name}": value for name, value in side.metadata.annotations.items()}
        sides.append(values)
    old, new = sides
    return [
        ValueChange(name=name, before=_shown(old, name), after=_shown(new, name))
        for name in sorted(old.keys() | new.keys())
        if name not in old or name not in new or old[name] != new[name]
    ]


def _shown(values: Mapping[str, Any], name: str) -> str | None:
    if name not in values:
        return None
    text = str(values[name])
    return text if len(text) <= _MAX_VALUE else text[: _MAX_VALUE - 1] + "…"


def _class_changes(old: str, new: str) -> list[ClassChange]:
    facts = read_sources((old, new), shapes=True)
    if facts[old].fault is not None or facts[new].fault is not None:
        return []
    before = {shape.name: shape for shape in facts[old].shapes or ()}
    after = {shape.name: shape for shape in facts[new].shapes or ()}
    changes: list[ClassChange] = []
    for name in sorted(before.keys() | after.keys()):
        first, second = before.get(name), after.get(name)
        if first is None or second is None:
            changes.append(ClassChange(name=name, change="added" if first is None else "removed"))
            continue
        fields, methods = _field_changes(first, second), _method_changes(first, second)
        if fields or methods or first.bases != second.bases:
            changes.append(
                ClassChange(
                    name=name,
                    change="changed",
                    bases_before=first.bases,
                    bases_after=second.bases,
                    fields=tuple(fields),
                    methods=tuple(methods),
                )
            )
    return changes


def _limited(changes: list[ClassChange]) -> tuple[list[ClassChange], int]:
    kept: list[ClassChange] = []
    room, total = MAX_LISTED, 0
    for change in changes:
        total += 1 + len(change.fields) + len(change.methods)
        if room > 0:
            fields = change.fields[: room - 1]
            methods = change.methods[: room - 1 - len(fields)]
            kept.append(change.model_copy(update={"fields": fields, "methods": methods}))
            room -= 1 + len(fields) + len(methods)
    return kept, total - (MAX_LISTED - room)


def _field_changes(before: ClassShape, after: ClassShape) -> list[FieldChange]:
    changes: list[FieldChange] = []
    for name in [*before.fields, *(name for name in after.fields if name not in before.fields)]:
        old, new = before.fields.get(name), after.fields.get(name)
        if old == new:
            continue
        changes.append(
            FieldChange(
                name=name,
                change="added" if old is None else "removed" if new is None else "changed",
                type_before=old[0] if old else None,
                type_after=new[0] if new else None,
                default_before=old[1] if old else None,
                default_after=new[1] if new else None,
            )
        )
    return changes


def _method_changes(before: ClassShape, after: ClassShape) -> list[MethodChange]:
    changes: list[MethodChange] = []
    for name in [*before.methods, *(name for name in after.methods if name not in before.methods)]:
        old, new = before.methods.get(name), after.methods.get(name)
        if old == new:
            continue
        changes.append(
            MethodChange(
                name=name,
                change="added" if old is None else "removed" if new is None else "changed",
                signature_before=old,
                signature_after=new,
            )
        )
    return changes
