"""What somebody asks for: the desired definitions, or the release to go back to."""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from taskroll_agent.contracts import DefinitionContent, DefinitionKey, sha256_digest
from taskroll_agent.contracts.definition import Digest

from .apps import MAX_APPS, AppId, AppSource, source_digest
from .names import Identity, Namespace, OneLine, RequestId
from .policy import UpdatePolicy
from .provenance import GitProvenance

MAX_DEFINITIONS = 500
"""An update of more is refused: its plan must fit one Kubernetes object (1.5 MiB)."""


class UpdateRequest(BaseModel):
    """An update as a client sends it, sources and all. Never enters a workflow's history: see `SubmittedRequest`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    request_id: RequestId
    namespace: Namespace
    requested_by: Identity
    reason: OneLine = ""
    git: GitProvenance | None = None
    definitions: Annotated[list[DefinitionContent], Field(max_length=MAX_DEFINITIONS)] = Field(
        default_factory=list[DefinitionContent]
    )
    """Definitions as they shall be. Those that are not named stay as they are."""
    delete: Annotated[list[str], Field(max_length=MAX_DEFINITIONS)] = Field(default_factory=list[str])
    """Keys, ``Kind/name``, of definitions that shall be gone."""
    target_release: int | None = Field(default=None, ge=1)
    """Epoch of the release to go back to. Excludes `definitions` and `delete`."""
    adopt: bool = False
    """Whether `definitions` are what is live, and `delete` what is gone: the release takes them, and no custom resource
    is written."""
    apps: Annotated[list[AppSource], Field(max_length=MAX_APPS)] = Field(default_factory=list[AppSource])
    """Sources of registered apps: which definitions they use is read from them, and they can be registered again."""
    policy: UpdatePolicy = Field(default_factory=UpdatePolicy)

    @model_validator(mode="after")
    def _one_aim(self) -> "UpdateRequest":
        if self.target_release is not None and (self.definitions or self.delete):
            raise ValueError("target_release: excludes definitions and delete; send one or the other")
        if self.target_release is not None and self.adopt:
            raise ValueError("adopt: excludes target_release; send one or the other")
        if self.target_release is None and not self.definitions and not self.delete:
            raise ValueError("definitions: the request names no definition, no deletion and no target_release")
        wanted = [str(content.key) for content in self.definitions]
        twice = sorted({key for key in wanted if wanted.count(key) > 1})
        if twice:
            raise ValueError(f"definitions: named twice: {', '.join(twice)}")
        for key in self.delete:
            DefinitionKey.parse(key)
        both = sorted(set(wanted) & set(self.delete))
        if both:
            raise ValueError(f"delete: also among definitions: {', '.join(both)}")
        ids = [app.id for app in self.apps]
        twice = sorted({app_id for app_id in ids if ids.count(app_id) > 1})
        if twice:
            raise ValueError(f"apps: given twice: {', '.join(twice)}; give each once")
        return self

    def submitted(self) -> "SubmittedRequest":
        """The request with each source replaced by its digest."""
        return SubmittedRequest(
            request_id=self.request_id,
            namespace=self.namespace,
            requested_by=self.requested_by,
            reason=self.reason,
            git=self.git,
            definitions={str(content.key): content.digest() for content in self.definitions},
            delete=sorted(self.delete),
            target_release=self.target_release,
            adopt=self.adopt,
            apps={app.id: source_digest(app.source) for app in self.apps},
            policy=self.policy,
        )


class SubmittedRequest(BaseModel):
    """A request by reference: sources are revisions in the cluster, named by their digests.

    Stored in an immutable object named after the request id, which is what makes the id unique.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    request_id: RequestId
    namespace: Namespace
    requested_by: Identity
    reason: OneLine = ""
    git: GitProvenance | None = None
    definitions: dict[str, Digest] = Field(default_factory=dict)
    delete: list[str] = Field(default_factory=list[str])
    target_release: int | None = None
    adopt: bool = False
    apps: dict[AppId, Digest] = Field(default_factory=dict)
    """App id → digest of its source."""
    policy: UpdatePolicy

    @property
    def origin(self) -> Literal["update", "rollback", "adoption"]:
        if self.adopt:
            return "adoption"
        return "update" if self.target_release is None else "rollback"

    def digest(self) -> str:
        """``sha256:…`` over what the update shall do: definitions, deletions, target, policy, and the apps' sources.

        Who asks, why, and from which commit are not part of it: the same wish is the same update.
        """
        return sha256_digest(
            {
                "namespace": self.namespace,
                "definitions": self.definitions,
                "delete": self.delete,
                "target_release": self.target_release,
                "policy": self.policy.model_dump(mode="json"),
                **({"adopt": True} if self.adopt else {}),
                **({"apps": self.apps} if self.apps else {}),
            }
        )


class UpdateInput(BaseModel):
    """The workflow's input: where the request is stored, and what the saga's own decisions need."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    namespace: Namespace
    request_id: RequestId
    request_digest: Digest
    requested_by: Identity
    reason: str
    git_commit: str | None = None
    policy: UpdatePolicy
