"""The plan: what an update would change, whom it touches, and the state that it was made from."""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from taskroll_agent.contracts import DefinitionKey, Kind, ReleaseEntry, sha256_digest
from taskroll_agent.contracts.definition import Digest

Action = Literal["create", "change", "delete", "adopt"]
"""``adopt``: the custom resource stays as it is, and the release takes it."""


class ObjectMetadata(BaseModel):
    """All metadata of a custom resource that a compensation has to bring back, also what others put there."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    labels: dict[str, str] = Field(default_factory=dict)
    annotations: dict[str, str] = Field(default_factory=dict)
    finalizers: list[str] = Field(default_factory=list[str])
    owner_references: list[dict[str, object]] = Field(default_factory=list[dict[str, object]])


class FormerObject(BaseModel):
    """A custom resource as it was when the plan was made. Its spec is in the revision that the digest names."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    digest: Digest
    uid: str
    resource_version: str
    metadata: ObjectMetadata


class DefinitionChange(BaseModel):
    """One definition that the update changes."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Kind
    name: str
    action: Action
    class_name: str
    module: str
    after: ReleaseEntry | None
    """None for a deletion."""
    former: FormerObject | None
    """None for a creation."""

    @property
    def key(self) -> DefinitionKey:
        return DefinitionKey(self.kind, self.name)


class ServiceExtent(BaseModel):
    """How far the update reaches in one service."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    strategy: str
    replicas: int
    proof: str = ""
    """What the strategy can and cannot show, before the commit and after it."""
    reads_definitions: bool = False
    """Whether its processes read the custom resources, so that these come back before it is told to go back."""
    patience: float = 0.0
    """Seconds that telling it may take, beyond those of a call."""


class Instance(BaseModel):
    """A live instance of a task, from its custom resource."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    class_name: str
    created_at: str

    def __str__(self) -> str:
        return f"{self.class_name} {self.name}"


class Plan(BaseModel):
    """Stored whole in an immutable object; the workflow holds a `PlanSummary`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    request_id: str
    number: int
    """1 for the first plan of the update; each new plan after a drift counts on."""
    base_epoch: int
    """Epoch of the release that was current; 0 where there was none."""
    base: dict[str, ReleaseEntry]
    """All definitions as they were live."""
    changes: list[DefinitionChange]
    closure: list[str]
    """Keys of the changed definitions and all that import their modules: what is fenced."""
    depends_on: list[str]
    """Keys of the definitions that the closure imports: no overlapping update may change them meanwhile."""
    task_classes: list[str]
    """Task classes of the closure: no instance of them may live."""
    services: list[ServiceExtent]
    instances: list[Instance]
    """Live instances of the closure, when the plan was made."""
    apps: list[str] = Field(default_factory=list[str])
    """Registered apps that use the closure, or may use it, when the plan was made."""
    warnings: list[str] = Field(default_factory=list[str])

    def basis_digest(self) -> str:
        """``sha256:…`` over the live state that this plan depends on: closure, what it imports, and each former object.

        If the live state gives another one, the plan is void.
        """
        watched = sorted({*self.closure, *self.depends_on})
        return sha256_digest(
            {
                "live": {key: self.base[key].digest for key in watched if key in self.base},
                "former": {
                    str(change.key): change.former.model_dump(mode="json", exclude={"resource_version"})
                    if change.former
                    else None
                    for change in self.changes
                },
            }
        )

    def digest(self) -> str:
        """``sha256:…`` over what an approver agrees to: changes, closure, and the state they start from."""
        return sha256_digest(
            {
                "request_id": self.request_id,
                "basis": self.basis_digest(),
                "changes": [
                    {
                        "definition": str(change.key),
                        "action": change.action,
                        "before": change.former.digest if change.former else None,
                        "after": change.after.digest if change.after else None,
                    }
                    for change in self.changes
                ],
                "closure": self.closure,
            }
        )

    def written(self) -> list[DefinitionChange]:
        """The changes that concern a custom resource. The others take a definition out of the release that somebody
        else deleted before."""
        return [change for change in self.changes if change.former is not None or change.after is not None]

    def target(self) -> dict[str, str | None]:
        """Definition key → digest to load, None where deleted: what `PrepareRequest` carries."""
        return {str(change.key): change.after.digest if change.after else None for change in self.changes}

    def summary(self, name: str) -> "PlanSummary":
        return PlanSummary(
            name=name,
            number=self.number,
            digest=self.digest(),
            base_epoch=self.base_epoch,
            create=[str(change.key) for change in self.changes if change.action == "create"],
            change=[str(change.key) for change in self.changes if change.action == "change"],
            delete=[str(change.key) for change in self.changes if change.action == "delete"],
            adopt=[str(change.key) for change in self.changes if change.action == "adopt"],
            closure=len(self.closure),
            services=self.services,
            instances=[str(instance) for instance in self.instances[:20]],
            apps=self.apps[:20],
            warnings=self.warnings[:20],
        )


class PlanSummary(BaseModel):
    """What the workflow knows of its plan: names and counts, small enough for the history."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    """Of the object that stores the plan."""
    number: int
    digest: Digest
    base_epoch: int
    create: list[str]
    change: list[str]
    delete: list[str]
    adopt: list[str] = Field(default_factory=list[str])
    closure: int
    services: list[ServiceExtent]
    instances: list[str]
    apps: list[str] = Field(default_factory=list[str])
    warnings: list[str]

    @property
    def is_empty(self) -> bool:
        return not (self.create or self.change or self.delete or self.adopt)

    @property
    def reads_definitions(self) -> bool:
        """Whether some service has processes that read the custom resources."""
        return any(service.reads_definitions for service in self.services)

    @property
    def patience(self) -> float:
        """Seconds that telling all services may take, beyond those of calls: at worst one after the other."""
        return sum(service.patience for service in self.services)

    def in_words(self) -> str:
        """The plan in a few words, for the table of steps."""
        if self.is_empty:
            return "nothing differs"
        return ", ".join(f"{len(keys)} {verb}" for verb, keys in self.by_verb().items())

    def by_verb(self) -> dict[str, list[str]]:
        """``created``, ``changed``, ``deleted``, ``adopted`` → keys of the definitions, where there are any."""
        keys = {"created": self.create, "changed": self.change, "deleted": self.delete, "adopted": self.adopt}
        return {verb: some for verb, some in keys.items() if some}
