"""What can go wrong in an agent, by type, so that a caller can tell what to do about it."""

from typing import Literal

from .contracts import ImportProblem

RefusalReason = Literal["stale_epoch", "other_update", "not_loadable"]


class AgentError(Exception):
    """The base of every error that this package raises by itself."""


class SettingsError(AgentError):
    """A setting is missing or makes no sense. The message names the environment variable."""


class ClusterError(AgentError):
    """Something could not be read from the Kubernetes API."""


class ClusterUnavailable(ClusterError):
    """The API server was not reachable, or was overloaded, for as long as a read may take. Worth another try."""


class ClusterForbidden(ClusterError):
    """The API server refused the read (401 or 403): credentials or RBAC, which no retry mends."""


class NotInCluster(ClusterError):
    """The object does not exist."""


class CorruptObject(ClusterError):
    """What was read is not what its name or digest promises: somebody else wrote it."""


class LoadFailed(AgentError):
    """A set of definitions could not be made into a generation; one problem per definition concerned."""

    def __init__(self, problems: list[ImportProblem]) -> None:
        self.problems = problems
        first = problems[0]
        more = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
        super().__init__(f"{first.definition}: {first.error}: {first.message}{more}")


class Refused(AgentError):
    """The agent will not carry out a call; over HTTP a 409 with a `Refusal`."""

    def __init__(self, reason: RefusalReason, message: str) -> None:
        self.reason: RefusalReason = reason
        super().__init__(message)


class FlipFailed(AgentError):
    """The host of this process could not carry its registries and live objects over; everything is as it was."""


class CallCancelled(AgentError):
    """An update has cancelled a call that did not end before its deadline."""


class DefinitionNotFound(AgentError, LookupError):
    """The generation has no such definition or class."""
