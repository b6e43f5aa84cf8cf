"""What the API server's answers mean to a caller, and which of them are worth another try.

Every answer that is not a success goes through `refusal`, every failure of the connection through `unreachable`: there
is no second place where a status code is looked at.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, cast

from taskroll.models.errors import RefusedByCluster, ServiceUnavailable, TaskrollError

if TYPE_CHECKING:
    from .transport import Call, Reply

# etcd's limit on a request is 1.5 MiB (--max-request-bytes), gRPC's on a message 2 MiB; the API server passes on either
# text with status 500, which looks like a failure that passes and is none.
_TOO_LARGE = ("etcdserver: request is too large", "trying to send message larger than max")


class NotConfigured(TaskrollError):
    """Nothing says which cluster is meant: no kubeconfig, no such context, and not inside a pod."""

    code = "NotConfigured"


class ClusterError(TaskrollError):
    """The API server did not do what it was asked. Base of the errors below.

    Attributes:
        verb: What was asked: ``read``, ``list``, ``create``, ``replace``, ``apply`` or ``delete``.
        kind: Of the object.
        name: Of the object; None for a list.
        status: The HTTP status; None where no answer came.
        reason: The server's machine-readable reason, such as ``AlreadyExists``; empty where it gave none.
    """

    code = "ClusterError"

    def __init__(self, call: Call, message: str, *, status: int | None = None, reason: str = "") -> None:
        super().__init__(f"{call.verb} {call.subject}: {message}")
        self.verb = call.verb
        self.kind = call.kind
        self.name = call.name
        self.status = status
        self.reason = reason


class NotFound(ClusterError):
    """No object of that name (404)."""

    code = "NotFound"


class UnknownResource(RefusedByCluster, ClusterError):
    """The API server does not know the kind at all (404): its CRD is not installed."""


class AlreadyExists(ClusterError):
    """An object of that name is there (409)."""

    code = "AlreadyExists"


class Conflict(ClusterError):
    """Somebody wrote since the object was read, or it is another of its name (409). Read again, decide again."""

    code = "Conflict"
    retryable = True


class Expired(ClusterError):
    """The continue token of a list, or the resourceVersion of a watch, is too old (410). Start the list again."""

    code = "Expired"
    retryable = True


class Invalid(RefusedByCluster, ClusterError):
    """The object is not valid, or an admission policy denies it (400, 422). The message is the server's own."""


class Forbidden(RefusedByCluster, ClusterError):
    """These credentials may not do that, or are not accepted (401, 403)."""


class TooLarge(RefusedByCluster, ClusterError):
    """The object is over etcd's 1.5 MiB (413, or a 500 that says so). Trying again does not help."""


class Unavailable(ServiceUnavailable, ClusterError):
    """The API server is overloaded, failing, or cannot be reached (429, 5xx, transport). Try again.

    A write that ended so may have been carried out all the same: look before writing again.

    Attributes:
        retry_after: Seconds that the server asks to wait; None where it asks for nothing.
    """

    def __init__(
        self,
        call: Call,
        message: str,
        *,
        status: int | None = None,
        reason: str = "",
        retry_after: float | None = None,
    ) -> None:
        super().__init__(call, message, status=status, reason=reason)
        self.retry_after = retry_after


def refusal(call: Call, reply: Reply) -> ClusterError:
    """Return the error for an answer that is not a success."""
    message, reason, names_object = _explanation(reply)
    status = reply.status
    kind: type[ClusterError]
    if status == 404:
        kind = NotFound if names_object else UnknownResource
        if kind is UnknownResource:
            message = f"the API server does not know {call.path}: are taskroll's CRDs installed?"
        elif message.startswith("namespaces "):
            message += "; kubectl create namespace makes it, and --namespace names another"
    elif status == 409:
        kind = AlreadyExists if reason == "AlreadyExists" else Conflict
    elif status == 410:
        kind = Expired
    elif status in (401, 403):
        kind = Forbidden
    elif status == 413 or any(text in message for text in _TOO_LARGE):
        kind = TooLarge
    elif status == 429 or status >= 500:
        return Unavailable(call, message, status=status, reason=reason, retry_after=_retry_after(reply))
    else:
        kind = Invalid
    return kind(call, message, status=status, reason=reason)


def unreachable(call: Call, error: Exception) -> Unavailable:
    """Return the error for a call that got no answer, whatever broke on the way."""
    said = str(error) or type(error).__name__
    return Unavailable(call, f"the API server cannot be reached: {said}")


def is_for_want_of_rights(reply: Reply) -> bool:
    """Whether a 403 is anything but an admission policy's: only those are of the server's own making at its start."""
    return "ValidatingAdmissionPolicy" not in _explanation(reply)[0]


def starting(call: Call, refused: Reply, readiness: Reply) -> Unavailable:
    """Return the error for a refusal of a server that is not ready, and so may not know its roles yet."""
    message = _explanation(refused)[0]
    return Unavailable(
        call,
        f"the API server is not ready (/readyz answers {readiness.status}) and refuses: {message}",
        status=refused.status,
        reason="NotReady",
    )


def _explanation(reply: Reply) -> tuple[str, str, bool]:
    """The server's message and reason, and whether it speaks of one object (a ``Status`` with a name)."""
    text = reply.body.decode("utf-8", errors="replace").strip()
    try:
        parsed: Any = json.loads(text)
    except ValueError:
        parsed = None
    if not isinstance(parsed, dict):
        return (text[:500] or f"HTTP {reply.status}"), "", False
    status = cast("dict[str, Any]", parsed)
    details = cast("dict[str, Any]", status.get("details") or {})
    message = str(status.get("message") or f"HTTP {reply.status}")
    return message, str(status.get("reason") or ""), bool(details.get("name"))


def _retry_after(reply: Reply) -> float | None:
    try:
        return max(0.0, float(reply.headers.get("retry-after", "")))
    except ValueError:
        return None
