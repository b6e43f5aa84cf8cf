"""What each answer of the API server means. No cluster needed."""

from __future__ import annotations

import json

import pytest

from taskroll.cluster import errors
from taskroll.cluster.transport import Call, Reply
from taskroll.models.errors import RefusedByCluster, ServiceUnavailable, TaskrollError

CALL = Call("replace", "/apis/x/v1/things/a", "Thing", "a")


def _status(reason: str = "", message: str = "the server's own words", name: str = "a") -> bytes:
    details = {"name": name} if name else {}
    return json.dumps({"kind": "Status", "reason": reason, "message": message, "details": details}).encode()


ANSWERS = {
    "bad request": (400, _status("BadRequest"), errors.Invalid, "RefusedByCluster", False),
    "not accepted": (401, _status("Unauthorized"), errors.Forbidden, "RefusedByCluster", False),
    "not permitted": (403, _status("Forbidden"), errors.Forbidden, "RefusedByCluster", False),
    "no such object": (404, _status("NotFound"), errors.NotFound, "NotFound", False),
    "no such kind": (404, _status("NotFound", name=""), errors.UnknownResource, "RefusedByCluster", False),
    "no such group": (404, b"404 page not found\n", errors.UnknownResource, "RefusedByCluster", False),
    "exists": (409, _status("AlreadyExists"), errors.AlreadyExists, "AlreadyExists", False),
    "stale": (409, _status("Conflict"), errors.Conflict, "Conflict", True),
    "expired": (410, _status("Expired"), errors.Expired, "Expired", True),
    "too large": (413, _status("RequestEntityTooLarge"), errors.TooLarge, "RefusedByCluster", False),
    "too large for etcd": (
        500,
        _status(message="etcdserver: request is too large"),
        errors.TooLarge,
        "RefusedByCluster",
        False,
    ),
    "too large for gRPC": (
        500,
        _status(message="rpc error: code = ResourceExhausted desc = trying to send message larger than max (3 vs. 2)"),
        errors.TooLarge,
        "RefusedByCluster",
        False,
    ),
    "invalid": (422, _status("Invalid"), errors.Invalid, "RefusedByCluster", False),
    "overloaded": (429, _status("TooManyRequests"), errors.Unavailable, "ServiceUnavailable", True),
    "failing": (500, _status("InternalError"), errors.Unavailable, "ServiceUnavailable", True),
    "behind a proxy": (502, b"<html>Bad Gateway</html>", errors.Unavailable, "ServiceUnavailable", True),
    "starting": (503, b"", errors.Unavailable, "ServiceUnavailable", True),
    "slow": (504, _status("Timeout"), errors.Unavailable, "ServiceUnavailable", True),
    "from the future": (599, b"[]", errors.Unavailable, "ServiceUnavailable", True),
}


@pytest.mark.parametrize("answer", ANSWERS)
def test_an_answer_becomes_an_error_of_its_kind(answer):
    status, body, kind, code, retryable = ANSWERS[answer]
    error = errors.refusal(CALL, Reply(status, body))
    assert type(error) is kind
    assert isinstance(error, TaskrollError)
    assert (error.code, error.retryable, error.status) == (code, retryable, status)
    assert (error.verb, error.kind, error.name) == ("replace", "Thing", "a")
    assert error.message.startswith("replace Thing/a: ")
    if b"own words" in body and kind is not errors.UnknownResource:
        assert "the server's own words" in error.message
    assert isinstance(error, RefusedByCluster) == (code == "RefusedByCluster")
    assert isinstance(error, ServiceUnavailable) == (code == "ServiceUnavailable")


@pytest.mark.parametrize(("header", "seconds"), [("7", 7.0), ("0.5", 0.5), ("-1", 0.0), ("soon", None), (None, None)])
def test_the_server_says_when_to_try_again(header, seconds):
    headers = {"retry-after": header} if header else {}
    error = errors.refusal(CALL, Reply(429, _status("TooManyRequests"), headers))
    assert isinstance(error, errors.Unavailable)
    assert error.retry_after == seconds


def test_a_failure_on_the_way_is_chained_and_named():
    error = errors.unreachable(CALL, TimeoutError())
    assert error.message == "replace Thing/a: the API server cannot be reached: TimeoutError"
    assert error.retryable
