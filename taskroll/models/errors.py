"""Errors that users meet. Each names the field or object, the value, and the way out.

``code`` is stable: it is the type of the ApplicationError in Temporal, the last segment of the endpoint's problem type,
and what a test asserts on.
"""


class TaskrollError(Exception):
    """Base of all errors that taskroll raises on purpose."""

    code = "Error"
    retryable = False

    def __init__(self, message: str, *, details: list[str] | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.details = details or []
        """Single findings, one line each, where there is more than one."""


class InvalidRequest(TaskrollError):
    """The request itself is wrong; sending it again will not help."""

    code = "InvalidRequest"

    def __init__(
        self, message: str, *, details: list[str] | None = None, fields: list[tuple[str, str]] | None = None
    ) -> None:
        super().__init__(message, details=details)
        self.fields = fields or []
        """Path and message of each field that is wrong, where it is about fields; the path is empty for the whole."""


class RequestConflict(TaskrollError):
    """The request id is taken by a request of other content."""

    code = "RequestConflict"

    def __init__(self, request_id: str, known: str, sent: str) -> None:
        super().__init__(
            f"request id {request_id!r} is taken by another request: it has digest {known}, the one sent has {sent}; "
            "use another request id, or send the first request again"
        )
        self.known = known
        self.sent = sent


class UnknownUpdate(TaskrollError):
    """No update of that request id."""

    code = "UnknownUpdate"


class UnknownRelease(TaskrollError):
    """No release of that epoch, or one that was taken back."""

    code = "UnknownRelease"


class InvalidSource(TaskrollError):
    """Sources that cannot be what the request says: syntax, missing class, clashing names."""

    code = "InvalidSource"


class RefusedByCluster(TaskrollError):
    """The API server will not have it (422, 403): see the message."""

    code = "RefusedByCluster"


class StillInUse(TaskrollError):
    """Instances of the closure live, and the policy is to refuse or the wait was too long."""

    code = "StillInUse"


class GatewayUnavailable(TaskrollError):
    """The platform's gateway does not answer, or not what it should: nobody can say what uses a definition."""

    code = "GatewayUnavailable"
    retryable = True


class CallsInFlight(TaskrollError):
    """Calls to the closure did not end before the deadline of ``drain: live``."""

    code = "CallsInFlight"


class FenceTimeout(TaskrollError):
    """An overlapping update did not end in time."""

    code = "FenceTimeout"


class FenceNotEnforced(TaskrollError):
    """The API server lets new instances of a fenced task pass, and the policy requires that it refuses them."""

    code = "FenceNotEnforced"


class TakenOver(TaskrollError):
    """The writer no longer acts for the update: a recovery took its fence over, or the fence is down."""

    code = "TakenOver"


class TakenBack(TaskrollError):
    """The update has committed the former definitions again: it does not go forward any more."""

    code = "TakenBack"


class NotLoadable(TaskrollError):
    """A replica could not load the new definitions; nothing had been changed."""

    code = "NotLoadable"


class ForeignWrite(TaskrollError):
    """Somebody else wrote what the update was about to write. It is left as it is."""

    code = "ForeignWrite"


class NotAttested(TaskrollError):
    """Not every replica attested the release in time."""

    code = "NotAttested"


class ReplicaUnreachable(TaskrollError):
    """A replica did not answer in time."""

    code = "ReplicaUnreachable"


class TamperedState(TaskrollError):
    """An object that only taskroll may write does not match its own digest."""

    code = "TamperedState"


class ServiceUnavailable(TaskrollError):
    """Temporal or the API server cannot be reached; try again."""

    code = "ServiceUnavailable"
    retryable = True


class WrongPhase(TaskrollError):
    """The update is not where that makes sense: approving one that does not wait, say."""

    code = "WrongPhase"
