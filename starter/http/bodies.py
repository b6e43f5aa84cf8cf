"""The bodies of the endpoint: what clients send."""

import base64
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from taskroll.models.apps import MAX_APPS, AppSource
from taskroll.models.names import Identity, Namespace, NonEmptyLine, OneLine, RequestId, ResourceName
from taskroll.models.policy import UpdatePolicy
from taskroll.models.provenance import GitProvenance
from taskroll.models.request import MAX_DEFINITIONS, UpdateRequest
from taskroll.tasklib.names import identifier_fault, module_name_fault, resource_name
from taskroll_agent.contracts import DefinitionContent, Kind, Metadata


def _identifier(name: str) -> str:
    if (fault := identifier_fault(name)) is not None:
        raise ValueError(fault)
    return name


def _module_name(name: str) -> str:
    if (fault := module_name_fault(name)) is not None:
        raise ValueError(f"{fault}; write a dotted name such as package.module")
    return name


ClassName = Annotated[str, AfterValidator(_identifier)]
ModuleName = Annotated[str, AfterValidator(_module_name)]

_SOURCE = '''from cornserve.task.base import Task, UnitTask


class EchoTask(UnitTask):
    """Answers what it was asked."""
'''
DEFINITION_EXAMPLE: dict[str, Any] = {
    "kind": "TaskDefinition",
    "class_name": "EchoTask",
    "module": "cornserve_tasklib.task.unit.echo",
    "source": _SOURCE,
    "is_unit_task": True,
}
DESCRIPTOR_EXAMPLE: dict[str, Any] = {
    "kind": "ExecutionDescriptor",
    "class_name": "EchoDescriptor",
    "task_class_name": "EchoTask",
    "module": "cornserve_tasklib.task_executors.descriptor.echo",
    "source": "class EchoDescriptor:\n    ...\n",
}


class _Body(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class DefinitionBody(_Body):
    """A definition as it shall be: one class, with the whole text of its module."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", json_schema_extra={"examples": [DEFINITION_EXAMPLE, DESCRIPTOR_EXAMPLE]}
    )

    kind: Kind
    class_name: ClassName
    """The class that it stands for: the task's, or the descriptor's own."""
    module: ModuleName
    """Dotted name under which services import it. Several definitions of one module carry the same source."""
    source: str
    """The module's text, as it is; not base64."""
    name: ResourceName | None = None
    """Of the custom resource; the class name in kebab case where it is left out, as Cornserve's own tool names it."""
    is_unit_task: bool | None = None
    """Of a TaskDefinition, where it is needed; false for a composite task."""
    task_class_name: ClassName | None = None
    """Of an ExecutionDescriptor, where it is needed: the task that it describes the execution of."""
    is_default: bool = True
    """Of an ExecutionDescriptor."""
    labels: dict[str, str] = Field(default_factory=dict)
    annotations: dict[str, str] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _fits_its_kind(self) -> "DefinitionBody":
        if self.kind == "TaskDefinition":
            if self.is_unit_task is None:
                raise ValueError("is_unit_task: is needed for a TaskDefinition; write true or false")
            if self.task_class_name not in (None, self.class_name):
                raise ValueError("task_class_name: is for an ExecutionDescriptor; leave it out")
        else:
            if self.task_class_name is None:
                raise ValueError("task_class_name: is needed for an ExecutionDescriptor; name the task that it is for")
            if self.is_unit_task is not None:
                raise ValueError("is_unit_task: is for a TaskDefinition; leave it out")
        return self

    def content(self) -> DefinitionContent:
        """As its custom resource has it: the same as the deploy tool makes of the same class."""
        spec: dict[str, Any] = {
            "taskClassName": self.task_class_name or self.class_name,
            "moduleName": self.module,
            "sourceCode": base64.b64encode(self.source.encode()).decode("ascii"),
        }
        if self.kind == "TaskDefinition":
            spec["isUnitTask"] = self.is_unit_task
        else:
            spec |= {"descriptorClassName": self.class_name, "isDefault": self.is_default}
        return DefinitionContent(
            kind=self.kind,
            name=self.name or resource_name(self.class_name),
            spec=spec,
            metadata=Metadata(labels=self.labels, annotations=self.annotations),
        )


class UpdateBody(_Body):
    """An update: the definitions as they shall be; those that are not named stay as they are."""

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        json_schema_extra={
            "examples": [
                {
                    "definitions": [DEFINITION_EXAMPLE],
                    "reason": "answers in upper case",
                    "requested_by": "ci/pipeline-4711",
                    "git": {"commit": "0123456789abcdef0123456789abcdef01234567", "branch": "main", "dirty": False},
                    "policy": {"approval": "required", "drain": "wait", "drain_timeout": 600},
                },
                {"delete": ["TaskDefinition/echo-task"], "reason": "nobody uses it"},
            ]
        },
    )

    definitions: Annotated[list[DefinitionBody], Field(max_length=MAX_DEFINITIONS)] = Field(
        default_factory=list[DefinitionBody]
    )
    delete: Annotated[list[str], Field(max_length=MAX_DEFINITIONS)] = Field(default_factory=list[str])
    """Keys, ``Kind/name``, of definitions that shall be gone."""
    target_release: int | None = Field(default=None, ge=1)
    """Number of the release to go back to, in place of `definitions` and `delete`."""
    apps: Annotated[list[AppSource], Field(max_length=MAX_APPS)] = Field(default_factory=list[AppSource])
    """Sources of registered apps: which definitions they use is read from them, and they can be registered again."""
    reason: OneLine = ""
    requested_by: Identity | None = None
    """Who asks. Nobody verifies it: it is as true as the holder of the token is."""
    git: GitProvenance | None = None
    policy: UpdatePolicy = Field(default_factory=UpdatePolicy)

    def request(self, namespace: Namespace, request_id: RequestId, requested_by: Identity) -> UpdateRequest:
        """As the client takes it. Raises pydantic's ValidationError."""
        return UpdateRequest(
            request_id=request_id,
            namespace=namespace,
            requested_by=requested_by,
            reason=self.reason,
            git=self.git,
            definitions=[definition.content() for definition in self.definitions],
            delete=self.delete,
            target_release=self.target_release,
            apps=self.apps,
            policy=self.policy,
        )


class RollbackBody(_Body):
    """Go back to a release."""

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        json_schema_extra={
            "examples": [{"to": 3, "reason": "latency went up"}, {"reason": "the last one was no good"}]
        },
    )

    to: int | None = Field(default=None, ge=1)
    """Number of the release; left out, the newest good one whose content differs from the current one."""
    apps: Annotated[list[AppSource], Field(max_length=MAX_APPS)] = Field(default_factory=list[AppSource])
    """As in an update."""
    reason: OneLine = ""
    requested_by: Identity | None = None
    policy: UpdatePolicy = Field(default_factory=UpdatePolicy)


class AdoptionBody(_Body):
    """Take what is live into the release, as it is."""

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        json_schema_extra={"examples": [{"reason": "from now on by taskroll"}, {"definitions": ["echo-task"]}]},
    )

    definitions: Annotated[list[str], Field(max_length=MAX_DEFINITIONS)] = Field(default_factory=list[str])
    """Names, or ``Kind/name``, beside a release; none for the first release, which takes all that is live."""
    reason: OneLine = ""
    requested_by: Identity | None = None
    policy: UpdatePolicy = Field(default_factory=UpdatePolicy)


class PruneBody(_Body):
    """Which stored sources shall go. There is no way back."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", json_schema_extra={"examples": [{"keep": 20, "dry_run": True}]}
    )

    keep: Annotated[int, Field(ge=1)]
    """How many of the newest releases a rollback can still choose."""
    older_than: Annotated[float, Field(ge=0)] = 3600.0
    """Seconds; what was stored later stays: a client stores sources before the request that names them."""
    dry_run: bool = False
    """Say what would be deleted; delete nothing."""


class DecisionBody(_Body):
    """An approval or a rejection."""

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        json_schema_extra={
            "examples": [{"by": "jane", "reason": "looked at the diff", "plan_digest": "sha256:" + "0" * 64}]
        },
    )

    by: Identity | None = None
    reason: OneLine = ""
    plan_digest: str | None = None
    """Digest of the plan that was looked at (``status.plan.digest``): the decision counts for that plan only."""


class WordBody(_Body):
    """Who does it, and why."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", json_schema_extra={"examples": [{"by": "jane", "reason": "wrong package"}]}
    )

    by: Identity | None = None
    reason: OneLine = ""


class ReleaseBody(_Body):
    """Who takes a fence down by hand, and why: that is all that is left to explain the state of the cluster."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", json_schema_extra={"examples": [{"by": "jane", "reason": "repaired by hand"}]}
    )

    by: Identity | None = None
    reason: NonEmptyLine
