"""The kinds of objects that taskroll reads and writes, and where the API server has them."""

from __future__ import annotations

from dataclasses import dataclass

from taskroll_agent.contracts import Kind


@dataclass(frozen=True)
class Resource:
    """One kind of object.

    Attributes:
        api_version: ``group/version``, or ``v1`` for the core group.
        kind: As in the object.
        plural: As in the path.
        namespaced: Whether its objects live in namespaces.
    """

    api_version: str
    kind: str
    plural: str
    namespaced: bool = True

    def path(self, namespace: str | None, name: str | None = None, subresource: str | None = None) -> str:
        """The path of all objects, of one, or of a part of one."""
        root = f"/apis/{self.api_version}" if "/" in self.api_version else f"/api/{self.api_version}"
        parts = [root]
        if self.namespaced and namespace is not None:
            parts += ["namespaces", namespace]
        parts += [part for part in (self.plural, name, subresource) if part is not None]
        return "/".join(parts)


TASK_DEFINITION = Resource("cornserve.ai/v1", "TaskDefinition", "taskdefinitions")
EXECUTION_DESCRIPTOR = Resource("cornserve.ai/v1", "ExecutionDescriptor", "executiondescriptors")
UNIT_TASK_INSTANCE = Resource("cornserve.ai/v1", "UnitTaskInstance", "unittaskinstances")
LATEST_TASKLIB_RV = Resource("cornserve.ai/v1", "LatestTasklibRV", "latesttasklibrvs")
TASK_UPDATE = Resource("taskroll.dev/v1", "TaskUpdate", "taskupdates")
CONTROLLER_REVISION = Resource("apps/v1", "ControllerRevision", "controllerrevisions")
DEPLOYMENT = Resource("apps/v1", "Deployment", "deployments")
CONFIG_MAP = Resource("v1", "ConfigMap", "configmaps")
POD = Resource("v1", "Pod", "pods")
NAMESPACE = Resource("v1", "Namespace", "namespaces", namespaced=False)
ADMISSION_POLICY = Resource(
    "admissionregistration.k8s.io/v1",
    "ValidatingAdmissionPolicy",
    "validatingadmissionpolicies",
    namespaced=False,
)
ADMISSION_BINDING = Resource(
    "admissionregistration.k8s.io/v1",
    "ValidatingAdmissionPolicyBinding",
    "validatingadmissionpolicybindings",
    namespaced=False,
)
CRD = Resource("apiextensions.k8s.io/v1", "CustomResourceDefinition", "customresourcedefinitions", namespaced=False)

DEFINITION_RESOURCES: dict[Kind, Resource] = {
    "TaskDefinition": TASK_DEFINITION,
    "ExecutionDescriptor": EXECUTION_DESCRIPTOR,
}


def field_manager(request_id: str, recovery: str = "") -> str:
    """The name under which an update writes; the API server keeps it in ``managedFields``.

    That is how a write carries its update's id while the labels and annotations stay what they were. A recovery adds
    its token: the API server lets only the writers pass that the fence names, so a late write of the workflow that the
    recovery took over from is refused.
    """
    return f"taskroll-{request_id}.{recovery}" if recovery else f"taskroll-{request_id}"


def is_manager_of(manager: str, request_id: str) -> bool:
    """Whether an update writes under that name, by itself or by a recovery."""
    return manager.partition(".")[0] == field_manager(request_id)
