"""Errors as ``application/problem+json`` (RFC 9457): one form for all of them, with a stable ``code``."""

import logging
from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any

from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, ConfigDict, Field
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from starter.validation import findings
from taskroll.models.errors import InvalidRequest, RequestConflict, TaskrollError

MEDIA_TYPE = "application/problem+json"
TYPE_PREFIX = "https://taskroll.dev/problems/"
RETRY_AFTER = "5"
"""Seconds, in the header of a 503."""

log = logging.getLogger(__name__)


class ProblemField(BaseModel):
    """One finding."""

    model_config = ConfigDict(extra="forbid")

    field: str | None = None
    """Where in the request, such as ``body.definitions[0].name``; null where it is about no field."""
    message: str


class Problem(BaseModel):
    """What went wrong."""

    model_config = ConfigDict(extra="allow")

    type: str
    """A URI that names the kind of problem; its last segment is `code`."""
    title: str
    status: int
    detail: str
    instance: str
    """Path of the request."""
    code: str
    errors: list[ProblemField] = Field(default_factory=list[ProblemField])


class Unauthenticated(HTTPException):
    """401, with the challenge that RFC 6750 asks for."""

    def __init__(self, detail: str, *, is_wrong: bool = False) -> None:
        error = ', error="invalid_token"' if is_wrong else ""
        super().__init__(401, detail, headers={"WWW-Authenticate": f'Bearer realm="taskroll"{error}'})


class BodyTooLarge(HTTPException):
    """413."""

    def __init__(self, limit: int) -> None:
        super().__init__(413, f"the body is over {limit:,} bytes; send fewer definitions at a time")


_STATUS = {
    "InvalidRequest": 422,
    "InvalidSource": 422,
    "UnknownUpdate": 404,
    "UnknownRelease": 422,
    "RequestConflict": 409,
    "WrongPhase": 409,
    "ForeignWrite": 409,
    "Conflict": 409,
    # The API server refuses it to the endpoint's own account, or refuses the object: the client's rights are not it.
    "RefusedByCluster": 502,
    "NotFound": 502,
    "ServiceUnavailable": 503,
}
_TITLES = {
    "InvalidRequest": "The request is not valid",
    "InvalidSource": "The sources cannot be deployed",
    "UnknownUpdate": "No such update",
    "UnknownRelease": "No such release to go back to",
    "RequestConflict": "The idempotency key is taken by another request",
    "WrongPhase": "The update is not where that makes sense",
    "RefusedByCluster": "The Kubernetes API server refuses it",
    "ServiceUnavailable": "Temporal, the workers or the Kubernetes API server do not answer",
    "MissingIdempotencyKey": "The header Idempotency-Key is missing",
    "Unauthenticated": "No valid token",
    "BodyTooLarge": "The body is too large",
    "NoSuchRoute": "No such resource",
    "MethodNotAllowed": "The resource does not know this method",
    "Unexpected": "An error that nobody foresaw",
}
_HTTP_CODES = {
    400: "InvalidRequest",
    401: "Unauthenticated",
    404: "NoSuchRoute",
    405: "MethodNotAllowed",
    413: "BodyTooLarge",
}


def problem_of(request: Request, error: Exception) -> Response:
    """The answer for an error. What nobody foresaw is logged and does not tell of itself."""
    if isinstance(error, TaskrollError):
        status = _STATUS.get(error.code, 500)
        extra = {"known": error.known, "sent": error.sent} if isinstance(error, RequestConflict) else {}
        headers = {"Retry-After": RETRY_AFTER} if status == 503 else None
        return _answer(request, status, error.code, error.message, _findings(error, status), extra, headers)
    if isinstance(error, RequestValidationError):
        return _invalid(request, error)
    if isinstance(error, HTTPException):
        code = _HTTP_CODES.get(error.status_code, "HttpError")
        return _answer(request, error.status_code, code, str(error.detail), headers=error.headers)
    log.error("unexpected error at %s %s", request.method, request.url.path, exc_info=error)
    return _answer(request, 500, "Unexpected", "an error that nobody foresaw; the log of the endpoint tells more")


def _findings(error: TaskrollError, status: int) -> list[ProblemField]:
    """Each finding; a request that is wrong as a whole is one."""
    if isinstance(error, InvalidRequest) and error.fields:
        return [ProblemField(field=path or None, message=message) for path, message in error.fields]
    details = error.details or ([error.message] if status == 422 else [])
    return [ProblemField(message=detail) for detail in details]


def _invalid(request: Request, error: RequestValidationError) -> Response:
    found: Sequence[Mapping[str, Any]] = error.errors()
    if found and found[0]["type"] == "json_invalid":
        message = _json_fault(found[0], error.body)
        return _answer(
            request, 422, "InvalidRequest", f"body: {message}", [ProblemField(field="body", message=message)]
        )
    for each in found:
        if each["type"] == "missing" and tuple(each["loc"])[:1] == ("header",) and len(found) == 1:
            return _answer(
                request,
                400,
                "MissingIdempotencyKey",
                "send the header Idempotency-Key: an id of your own for this update, so that sending it again is safe",
                [ProblemField(field="header.Idempotency-Key", message="is missing")],
            )
    fields = [ProblemField(field=path or None, message=message) for path, message in findings(found)]
    detail = f"{len(fields)} fields are wrong"
    if len(fields) == 1:
        detail = f"{fields[0].field}: {fields[0].message}" if fields[0].field else fields[0].message
    return _answer(request, 422, "InvalidRequest", detail, fields)


def _json_fault(each: Mapping[str, Any], text: Any) -> str:
    """Reason and place of a syntax error; FastAPI has the place as an offset in the location."""
    offset = int(each["loc"][-1])
    before = text[:offset] if isinstance(text, str) else ""
    line, column = before.count("\n") + 1, len(before.rpartition("\n")[2]) + 1
    return f"is no JSON: {each.get('ctx', {}).get('error', each['msg'])}, at line {line}, column {column}"


def _answer(
    request: Request,
    status: int,
    code: str,
    detail: str,
    fields: Sequence[ProblemField] = (),
    extra: Mapping[str, str] | None = None,
    headers: Mapping[str, str] | None = None,
) -> Response:
    problem = Problem(
        type=TYPE_PREFIX + code,
        title=_TITLES.get(code) or HTTPStatus(status).phrase,
        status=status,
        detail=detail,
        instance=request.url.path,
        code=code,
        errors=list(fields),
        **dict(extra or {}),
    )
    return JSONResponse(
        problem.model_dump(mode="json"), status, media_type=MEDIA_TYPE, headers=dict(headers) if headers else None
    )


def problem_responses(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """The ``responses`` of a route for OpenAPI."""
    schema = Problem.model_json_schema()
    field = schema.pop("$defs")["ProblemField"]
    # Written out where it is used: a router cannot add to the components of the app that mounts it.
    schema["properties"]["errors"]["items"] = field
    return {
        status: {
            "description": HTTPStatus(status).phrase,
            "content": {MEDIA_TYPE: {"schema": schema, "example": _example(status)}},
        }
        for status in statuses
    }


def _example(status: int) -> dict[str, Any]:
    code = next((code for code, known in _STATUS.items() if known == status), _HTTP_CODES.get(status))
    code = "MissingIdempotencyKey" if status == 400 else code or "Unexpected"
    return {
        "type": TYPE_PREFIX + code,
        "title": _TITLES.get(code, code),
        "status": status,
        "detail": "what was wrong with which value, and the way out",
        "instance": "/task-updates",
        "code": code,
        "errors": [],
    }
