"""``GET /taskroll/v1/census``: what of former generations is still alive in a process, and what holds it."""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")


class Holder(_Part):
    """What refers to something old: a kind of holder, by name. Never its contents."""

    name: str
    """Such as ``module service.cache``, ``instance of service.App``, ``function service.handle``."""
    count: int
    """How many such holders there are."""


class OldObjects(_Part):
    """Objects of one kind and name that stand in memory."""

    kind: Literal["instance", "class", "function", "module", "generation"]
    name: str
    """Of the class, function or module, in full."""
    count: int
    held_by: list[Holder] = Field(default_factory=list[Holder])
    """Most first. Empty where nothing is that the garbage collector knows of: a running call's variable, or nobody any
    more and it is about to be collected."""


class OldGeneration(_Part):
    number: int | None = None
    """Counts the generations of the process. None: those that are freed, but for classes without any function of their
    own (such as plain pydantic models) and their instances; all of them together."""
    content_digest: str | None = None
    leases: int = 0
    objects: list[OldObjects]
    """Instances, and what else of the generation somebody outside of it holds; most first."""


class Census(_Part):
    """What of former generations is alive."""

    process: str
    epoch: int
    generations: list[OldGeneration]
    """Former ones that stand in memory, oldest first; neither the current one nor prepared ones."""
    platform: list[Holder] = Field(default_factory=list[Holder])
    """Live objects of the platform that still reach something old, where the process has an adapter."""
    complete: bool
    """False where time or number ran out: there may be more."""
    seconds: float
