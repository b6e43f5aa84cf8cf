"""A live task made into one of the class that takes its class's place.

Its fields go through the new class's validation, as JSON: so Cornserve writes them into a UnitTaskInstance and reads
them back, and a task that one service converts equals the one that another service reads. It keeps the values that it
has; a field that is new gets its default.
"""

from collections.abc import Callable
from typing import Any

from pydantic import ValidationError

from taskroll_agent.errors import AgentError

_OWN_WORDS = frozenset({"value_error", "assertion_error"})
"""Errors whose message is that of the task's author, and may quote the source or the value."""


class NotConvertible(AgentError):
    """A live task cannot become one of the new class; (field, why) for each field that keeps it from that."""

    def __init__(self, fields: list[tuple[str, str]]) -> None:
        self.fields = fields
        super().__init__("; ".join(f"{field}: {why}" for field, why in fields))


def converted(task: Any, cls: type[Any]) -> Any:
    """A task of `cls` with the id and the values of `task`.

    Raises:
        NotConvertible: where its values are none for the new class.
    """
    return _checked(cls, lambda: cls.model_validate(task.model_dump(mode="json")))


def give_values(fresh: Any, task: Any) -> None:
    """Give a task that new code has just made the id and the values of the one in whose place it comes.

    In place, since the code that made it may have put it anywhere. Subtasks too, where both have the same ones in the
    same order; else the new class alone says what they are.

    Raises:
        NotConvertible: where the values are none for the new class.
    """
    cls: Any = fresh.__class__
    own: list[str] = [name for name in cls.model_fields if name != "subtask_attr_names"]
    values = {name: value for name, value in task.model_dump(mode="json", include=set(own)).items() if name in own}
    validated = _checked(cls, lambda: cls.model_validate(values))
    for name in own:
        fresh.__dict__[name] = validated.__dict__[name]
    mine, theirs = _subtasks(fresh), _subtasks(task)
    if [type(one).__name__ for one in mine] == [type(one).__name__ for one in theirs]:
        for one, former in zip(mine, theirs, strict=True):
            give_values(one, former)


def _subtasks(task: Any) -> list[Any]:
    return [getattr(task, name) for name in task.subtask_attr_names]


def _checked(cls: type[Any], make: Callable[[], Any]) -> Any:
    try:
        return make()
    except ValidationError as error:
        raise NotConvertible(
            [
                (
                    ".".join(map(str, one["loc"])) or cls.__name__,
                    one["type"] if one["type"] in _OWN_WORDS else one["msg"],
                )
                for one in error.errors(include_url=False, include_context=False, include_input=False)
            ]
        ) from error
    except Exception as error:
        raise NotConvertible([(cls.__name__, f"{type(error).__name__} was raised")]) from error
