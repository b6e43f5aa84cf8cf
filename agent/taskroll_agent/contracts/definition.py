"""A definition: one custom resource that carries the source of one Python class."""

import base64
import binascii
from typing import Annotated, Any, Literal, NamedTuple

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from .canonical import sha256_digest

Kind = Literal["TaskDefinition", "ExecutionDescriptor"]
DIGEST_PATTERN = r"^sha256:[0-9a-f]{64}$"
Digest = Annotated[str, StringConstraints(pattern=DIGEST_PATTERN)]

_KINDS: tuple[Kind, ...] = ("TaskDefinition", "ExecutionDescriptor")
_SHORT: dict[Kind, str] = {"TaskDefinition": "task", "ExecutionDescriptor": "descriptor"}


class DefinitionKey(NamedTuple):
    """Which definition: its kind and the name of its custom resource. Written ``TaskDefinition/encoder-task``."""

    kind: Kind
    name: str

    def __str__(self) -> str:
        return f"{self.kind}/{self.name}"

    @classmethod
    def parse(cls, text: str) -> "DefinitionKey":
        """Read ``Kind/name``.

        Raises:
            ValueError: where the text is not of that form or names another kind.
        """
        kind, slash, name = text.partition("/")
        for known in _KINDS:
            if kind == known and slash and name:
                return cls(known, name)
        raise ValueError(f"{text!r} is no definition key: write Kind/name with a kind of {', '.join(_KINDS)}")


class Metadata(BaseModel):
    """The labels and annotations of a definition that taskroll manages. Keys that others put there are not in it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    labels: dict[str, str] = Field(default_factory=dict)
    annotations: dict[str, str] = Field(default_factory=dict)


class DefinitionContent(BaseModel):
    """What a definition says: its spec, and the metadata that taskroll manages. Its digest names it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Kind
    name: str
    spec: dict[str, Any]
    metadata: Metadata = Field(default_factory=Metadata)

    @property
    def key(self) -> DefinitionKey:
        return DefinitionKey(self.kind, self.name)

    @property
    def module(self) -> str:
        """The dotted name under which services import the source."""
        return str(self.spec.get("moduleName", ""))

    @property
    def class_name(self) -> str:
        """The class that this definition stands for: the task's, or the descriptor's own."""
        field = "taskClassName" if self.kind == "TaskDefinition" else "descriptorClassName"
        return str(self.spec.get(field, ""))

    @property
    def task_class_name(self) -> str:
        """The task class: of a descriptor, the one that it describes the execution of."""
        return str(self.spec.get("taskClassName", ""))

    def source(self) -> bytes:
        """The module's source, decoded.

        Raises:
            ValueError: where ``spec.sourceCode`` is absent or not base64.
        """
        encoded = self.spec.get("sourceCode")
        if not isinstance(encoded, str):
            raise ValueError(f"{self.key}: spec.sourceCode is missing")
        try:
            return base64.b64decode(encoded, validate=True)
        except binascii.Error as error:
            raise ValueError(f"{self.key}: spec.sourceCode is not base64: {error}") from error

    def digest(self) -> str:
        """``sha256:…`` over the canonical form of kind, name, spec and managed metadata."""
        return sha256_digest(self.model_dump(mode="json"))


def revision_name(key: DefinitionKey, digest: str) -> str:
    """The name of the ``ControllerRevision`` that stores the definition with that digest.

    It carries the digest's first 16 hex digits; the full digest stands in the object and is checked at each read.
    """
    return f"taskroll-{_SHORT[key.kind]}-{key.name}-{digest.removeprefix('sha256:')[:16]}"
