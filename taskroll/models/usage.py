"""What uses the definitions of a closure: apps, deployed tasks, instances, pods; named one by one."""

from typing import Literal

from pydantic import BaseModel, ConfigDict

UseKind = Literal["app", "task", "instance", "pod"]


class Use(BaseModel):
    """One thing that uses a definition, or holds what a use of it left."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: UseKind
    name: str
    """An instance's with its task class in front."""
    since: str = ""
    """RFC 3339. When an object was created; of an app, when it was first seen, since the gateway does not say."""
    note: str = ""
    """What is special about it, with the way out."""

    def __str__(self) -> str:
        facts = "; ".join(filter(None, [f"since {self.since}" if self.since else "", self.note]))
        return f"{self.kind} {self.name}" + (f" ({facts})" if facts else "")
