"""The few fields of pods and EndpointSlices that discovery reads, as they stand in the API server's JSON.

TypedDicts over the plain JSON: making the Kubernetes client's own model of a pod costs a hundred times more, and is
of no use for five fields of it.
"""

from typing import TypedDict


class ObjectMeta(TypedDict, total=False):
    name: str
    uid: str
    annotations: dict[str, str]
    creationTimestamp: str
    deletionTimestamp: str


class ContainerPort(TypedDict, total=False):
    name: str
    containerPort: int


class Container(TypedDict, total=False):
    ports: list[ContainerPort]


class PodSpec(TypedDict, total=False):
    containers: list[Container]
    initContainers: list[Container]


class PodCondition(TypedDict, total=False):
    type: str
    status: str
    lastTransitionTime: str


class WaitingState(TypedDict, total=False):
    reason: str
    message: str


class ContainerState(TypedDict, total=False):
    waiting: WaitingState


class ContainerStatus(TypedDict, total=False):
    state: ContainerState
    restartCount: int


class PodStatus(TypedDict, total=False):
    phase: str
    podIP: str
    conditions: list[PodCondition]
    containerStatuses: list[ContainerStatus]


class Pod(TypedDict, total=False):
    metadata: ObjectMeta
    spec: PodSpec
    status: PodStatus


class EndpointPort(TypedDict, total=False):
    name: str
    port: int


class EndpointConditions(TypedDict, total=False):
    ready: bool
    serving: bool
    terminating: bool


class ObjectReference(TypedDict, total=False):
    kind: str
    name: str
    uid: str


class Endpoint(TypedDict, total=False):
    addresses: list[str]
    conditions: EndpointConditions
    targetRef: ObjectReference


class EndpointSlice(TypedDict, total=False):
    metadata: ObjectMeta
    addressType: str
    endpoints: list[Endpoint] | None
    ports: list[EndpointPort] | None
