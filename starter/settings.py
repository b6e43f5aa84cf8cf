"""Which cluster, namespace, Temporal and task queue a front talks to: flags, then the environment, then defaults.

What is not named here comes from further down: the Temporal address, namespace, API key and TLS from Temporal's own
variables and TOML profiles, the cluster from ``$KUBECONFIG``, ``~/.kube/config`` or the pod's service account.
"""

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace

DEFAULT_NAMESPACE = "cornserve"
DEFAULT_TASK_QUEUE = "taskroll"

_VARIABLES = {
    # The worker reads the same ones.
    "namespace": "TASKROLL_NAMESPACE",
    "kubeconfig": "TASKROLL_KUBECONFIG",
    "context": "TASKROLL_CONTEXT",
    "profile": "TASKROLL_TEMPORAL_PROFILE",
    "temporal_address": "TASKROLL_TEMPORAL_ADDRESS",
    "task_queue": "TASKROLL_TASK_QUEUE",
}
_ORIGINS = {"namespace": "--namespace or TASKROLL_NAMESPACE", "task_queue": "--task-queue or TASKROLL_TASK_QUEUE"}


@dataclass(frozen=True)
class Flags:
    """What was said on the command line; None where nothing was."""

    namespace: str | None = None
    kubeconfig: str | None = None
    context: str | None = None
    profile: str | None = None
    temporal_address: str | None = None
    task_queue: str | None = None

    def over(self, other: "Flags") -> "Flags":
        """These flags, and those of `other` where these say nothing."""
        said = {field.name: getattr(self, field.name) for field in fields(self)}
        return replace(other, **{name: value for name, value in said.items() if value is not None})


@dataclass(frozen=True)
class Settings:
    """Resolved; see `resolve`."""

    namespace: str = DEFAULT_NAMESPACE
    """Kubernetes namespace of the definitions."""
    kubeconfig: str | None = None
    """Path of a kubeconfig; None leaves it to ``$KUBECONFIG``, the default file, or the pod's service account."""
    context: str | None = None
    """Context of the kubeconfig; None takes its current one."""
    profile: str | None = None
    """Profile of Temporal's TOML file; None takes ``$TEMPORAL_PROFILE``, else ``default``."""
    temporal_address: str | None = None
    """``host:port``; None leaves it to ``TEMPORAL_ADDRESS``, the profile, or ``localhost:7233``."""
    task_queue: str = DEFAULT_TASK_QUEUE
    """The Temporal task queue that the workers of this installation poll."""


def resolve(flags: Flags, environ: Mapping[str, str] = os.environ) -> Settings:
    """Flags win over variables, variables over defaults. An empty variable counts as absent.

    Raises:
        InvalidRequest: naming the flag or variable, where a value cannot be what it says.
    """
    said = {field.name: getattr(flags, field.name) for field in fields(flags)}
    for name, variable in _VARIABLES.items():
        if said[name] is None:
            said[name] = environ.get(variable) or None
    settings = Settings(**{name: value for name, value in said.items() if value is not None})
    _check(settings)
    return settings


def _check(settings: Settings) -> None:
    from taskroll.models.errors import InvalidRequest
    from taskroll.models.names import NAMESPACE_PATTERN

    if not re.fullmatch(NAMESPACE_PATTERN, settings.namespace):
        raise InvalidRequest(
            f"namespace {settings.namespace!r} ({_ORIGINS['namespace']}) is no Kubernetes namespace: "
            "write lower-case letters, digits and dashes, at most 63"
        )
    if not settings.task_queue.strip() or len(settings.task_queue) > 200:
        raise InvalidRequest(
            f"task queue {settings.task_queue!r} ({_ORIGINS['task_queue']}) is no name: write 1 to 200 characters"
        )
