"""The endpoint's errors: RFC 9457, each with a code of its own."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest
from fastapi import FastAPI

from starter.http.app import create_app
from starter.http.router import create_router
from starter.http.tokens import BearerTokens, LoopbackOnly
from starter.settings import Settings
from taskroll.cluster.errors import Forbidden, NotFound, Unavailable
from taskroll.cluster.transport import Call
from taskroll.models import errors

TOKEN = "a-token-of-the-tests"
CALL = Call("read", "/x", "ConfigMap", "x")
UPDATE = {
    "definitions": [
        {
            "kind": "TaskDefinition",
            "class_name": "Echo",
            "module": "a.b",
            "source": "class Echo: ...",
            "is_unit_task": True,
        }
    ]
}
KEY = {"Idempotency-Key": "one"}


class Failing:
    """A client whose every method fails in one way."""

    settings = Settings()

    def __init__(self, error: Exception) -> None:
        self.error = error

    def __getattr__(self, name: str) -> Any:
        async def fail(*_: Any, **__: Any) -> None:
            raise self.error

        return fail


@asynccontextmanager
async def endpoint(app: FastAPI, **options: Any) -> AsyncIterator[httpx.AsyncClient]:
    transport = httpx.ASGITransport(app, raise_app_exceptions=False, **options)
    async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1") as client:
        yield client


def standalone(**options: Any) -> FastAPI:
    """The app, on a cluster and a Temporal that are not there."""
    settings = Settings(kubeconfig="/nonexistent", temporal_address="127.0.0.1:1")
    return create_app(settings, options.pop("authentication", LoopbackOnly()), **options)


def failing(error: Exception) -> FastAPI:
    async def get_client(_: Any) -> Any:
        return Failing(error)

    app = FastAPI()
    app.include_router(create_router(get_client), prefix="/platform/taskroll")
    return app


def check_form(answer: httpx.Response) -> dict[str, Any]:
    """What RFC 9457 and our documentation promise of every problem."""
    assert answer.headers["content-type"] == "application/problem+json"
    problem = answer.json()
    assert problem["status"] == answer.status_code
    assert problem["type"] == f"https://taskroll.dev/problems/{problem['code']}"
    assert problem["instance"] == answer.request.url.path
    assert problem["title"]
    assert problem["detail"]
    assert all(set(each) == {"field", "message"} for each in problem["errors"])
    return problem


@pytest.mark.parametrize(
    ("error", "status", "code"),
    [
        (errors.InvalidRequest("no"), 422, "InvalidRequest"),
        (errors.InvalidSource("no", details=["a:1: bad"]), 422, "InvalidSource"),
        (errors.UnknownUpdate("no"), 404, "UnknownUpdate"),
        (errors.UnknownRelease("no"), 422, "UnknownRelease"),
        (errors.RequestConflict("one", "sha256:a", "sha256:b"), 409, "RequestConflict"),
        (errors.WrongPhase("no"), 409, "WrongPhase"),
        (errors.RefusedByCluster("no"), 502, "RefusedByCluster"),
        (Forbidden(CALL, "no", status=403), 502, "RefusedByCluster"),
        (NotFound(CALL, "no", status=404), 502, "NotFound"),
        (errors.ServiceUnavailable("no"), 503, "ServiceUnavailable"),
        (Unavailable(CALL, "no", status=429), 503, "ServiceUnavailable"),
        (errors.TamperedState("no"), 500, "TamperedState"),
        (RuntimeError("a secret of the inside"), 500, "Unexpected"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else "",
)
async def test_each_error_has_its_status_also_where_the_router_is_mounted(
    error: Exception, status: int, code: str
) -> None:
    async with endpoint(failing(error)) as client:
        for answer in (
            await client.post("/platform/taskroll/task-updates", json=UPDATE, headers=KEY),
            await client.get("/platform/taskroll/task-updates/one"),
            await client.post("/platform/taskroll/task-updates/one/abort"),
        ):
            problem = check_form(answer)
            assert (answer.status_code, problem["code"]) == (status, code)
            assert "secret" not in answer.text
            assert ("retry-after" in answer.headers) == (status == 503)


async def test_a_conflict_names_both_digests() -> None:
    async with endpoint(failing(errors.RequestConflict("one", "sha256:a", "sha256:b"))) as client:
        problem = (await client.post("/platform/taskroll/rollbacks", json={}, headers=KEY)).json()
    assert (problem["known"], problem["sent"]) == ("sha256:a", "sha256:b")
    assert "sha256:a" in problem["detail"]
    assert "sha256:b" in problem["detail"]


async def test_single_findings_are_listed() -> None:
    error = errors.InvalidSource("two things", details=["a:1: bad", "b:2: worse"])
    async with endpoint(failing(error)) as client:
        problem = (await client.post("/platform/taskroll/task-updates", json=UPDATE, headers=KEY)).json()
    assert [each["message"] for each in problem["errors"]] == ["a:1: bad", "b:2: worse"]


DEFINITION = UPDATE["definitions"][0]


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"definitions": [{**DEFINITION, "kind": "Pod"}]}, "body.definitions[0].kind"),
        ({"definitions": [{**DEFINITION, "class_name": "1"}]}, "body.definitions[0].class_name"),
        ({"definitions": [{**DEFINITION, "module": "a/b"}]}, "body.definitions[0].module"),
        ({"definitions": [{**DEFINITION, "name": "Upper"}]}, "body.definitions[0].name"),
        ({"definitions": [{**DEFINITION, "is_unit_task": None}]}, "body.definitions[0]"),
        ({"definitions": [{**DEFINITION, "kind": "ExecutionDescriptor"}]}, "body.definitions[0]"),
        ({"definitions": [{**DEFINITION, "extra": 1}]}, "body.definitions[0].extra"),
        ({"definitions": [DEFINITION] * 501}, "body.definitions"),
        ({"delete": "TaskDefinition/x"}, "body.delete"),
        ({"reason": "a\nb"}, "body.reason"),
        ({"requested_by": ""}, "body.requested_by"),
        ({"git": {"commit": "main", "dirty": False}}, "body.git.commit"),
        ({"policy": {"drain": "maybe"}}, "body.policy.drain"),
        ({"policy": {"drain_timeout": 0}}, "body.policy.drain_timeout"),
        ({"policy": {"drain": "wait", "restore_apps": True}}, "body.policy"),
        ({"policy": {"drain": "shutdown", "grace": 60, "drain_timeout": 60}}, "body.policy"),
        ({"apps": [{"id": "App 1", "source": "import json"}]}, "body.apps[0].id"),
        ({"apps": [{"id": "app-1", "source": ""}]}, "body.apps[0].source"),
        ({"target_release": 0}, "body.target_release"),
        ({"unknown": 1}, "body.unknown"),
    ],
)
async def test_a_wrong_field_is_named(change: dict[str, Any], field: str) -> None:
    async with endpoint(standalone()) as client:
        answer = await client.post("/task-updates", json={**UPDATE, **change}, headers=KEY)
    problem = check_form(answer)
    assert (answer.status_code, problem["code"]) == (422, "InvalidRequest")
    assert [each["field"] for each in problem["errors"]] == [field]


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ({}, "names no definition"),
        ({"definitions": [DEFINITION, DEFINITION]}, "named twice"),
        ({"definitions": [DEFINITION], "target_release": 1}, "target_release"),
        ({"definitions": [DEFINITION], "delete": ["TaskDefinition/echo"]}, "also among definitions"),
        ({"delete": ["echo"]}, "no definition key"),
    ],
)
async def test_fields_that_do_not_fit_together(body: dict[str, Any], said: str) -> None:
    async with endpoint(standalone()) as client:
        answer = await client.post("/task-updates", json=body, headers=KEY)
    assert answer.status_code == 422
    problem = check_form(answer)
    assert said in problem["detail"]
    [finding] = problem["errors"]
    assert finding["field"] == "body"
    assert said in finding["message"]


@pytest.mark.parametrize(
    ("headers", "status", "code"),
    [
        ({}, 400, "MissingIdempotencyKey"),
        ({"Idempotency-Key": "Upper Case"}, 422, "InvalidRequest"),
        ({"Idempotency-Key": ""}, 422, "InvalidRequest"),
        ({"Idempotency-Key": "x" * 64}, 422, "InvalidRequest"),
        ({"Idempotency-Key": '"'}, 422, "InvalidRequest"),
        ({**KEY, "X-Requested-By": "x" * 201}, 422, "InvalidRequest"),
    ],
)
@pytest.mark.parametrize(("path", "body"), [("/task-updates", UPDATE), ("/rollbacks", {"to": 1})])
async def test_headers(path: str, body: dict[str, Any], headers: dict[str, str], status: int, code: str) -> None:
    async with endpoint(standalone()) as client:
        answer = await client.post(path, json=body, headers=headers)
    assert (answer.status_code, check_form(answer)["code"]) == (status, code)


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [
        ("GET", "/nowhere", 404, "NoSuchRoute"),
        ("DELETE", "/task-updates", 405, "MethodNotAllowed"),
        ("GET", "/task-updates/one/approve", 405, "MethodNotAllowed"),
        ("GET", "/task-updates?limit=0", 422, "InvalidRequest"),
        ("GET", "/task-updates?limit=many", 422, "InvalidRequest"),
        ("GET", "/releases?limit=0", 422, "InvalidRequest"),
        ("GET", "/task-updates/UPPER", 404, "UnknownUpdate"),
    ],
)
async def test_paths_and_queries(method: str, path: str, status: int, code: str) -> None:
    async with endpoint(standalone()) as client:
        answer = await client.request(method, path)
    assert (answer.status_code, check_form(answer)["code"]) == (status, code)


@pytest.mark.parametrize(
    ("content", "content_type"),
    [(b"{", "application/json"), (b"\xff", "application/json"), (b"{}", "text/plain"), (b"", "application/json")],
)
async def test_a_body_that_is_no_json(content: bytes, content_type: str) -> None:
    async with endpoint(standalone()) as client:
        answer = await client.post("/task-updates", content=content, headers={**KEY, "Content-Type": content_type})
    assert check_form(answer)["code"] == "InvalidRequest"
    assert answer.status_code == (400 if content == b"\xff" else 422)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("{", "is no JSON: Expecting property name enclosed in double quotes, at line 1, column 2"),
        ('{"to": 1,\n "reason": x}', "is no JSON: Expecting value, at line 2, column 12"),
        ('{"reason": "ä"}\n}', "is no JSON: Extra data, at line 2, column 1"),
    ],
)
async def test_a_syntax_error_of_json_has_its_place(content: str, said: str) -> None:
    async with endpoint(standalone()) as client:
        answer = await client.post(
            "/rollbacks", content=content.encode(), headers={**KEY, "Content-Type": "application/json"}
        )
    problem = check_form(answer)
    assert problem["errors"] == [{"field": "body", "message": said}]
    assert problem["detail"] == f"body: {said}"


@pytest.mark.parametrize("path", ["/task-updates?cursor=nonsense", "/task-updates?cursor=W10"])
async def test_a_cursor_that_is_none_is_a_finding(path: str) -> None:
    async with endpoint(standalone()) as client:
        [finding] = check_form(await client.get(path))["errors"]
    assert finding["message"].startswith("cursor: ")


@pytest.mark.parametrize("declared", [True, False], ids=["by its length", "while it is read"])
async def test_a_body_that_is_too_large(declared: bool) -> None:
    async def chunks() -> AsyncIterator[bytes]:
        for _ in range(11):
            yield b" " * 100

    content = b" " * 1100 if declared else chunks()
    async with endpoint(standalone(max_body_bytes=1000)) as client:
        answer = await client.post(
            "/task-updates", content=content, headers={**KEY, "Content-Type": "application/json"}
        )
    assert (answer.status_code, check_form(answer)["code"]) == (413, "BodyTooLarge")


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 401),
        ({"Authorization": TOKEN}, 401),
        ({"Authorization": f"Basic {TOKEN}"}, 401),
        ({"Authorization": "Bearer "}, 401),
        ({"Authorization": f"Bearer {TOKEN}x"}, 401),
        ({"Authorization": "Bearer ü".encode()}, 401),
        ({"Authorization": f"Bearer {TOKEN}"}, 404),
        ({"Authorization": f"bearer {TOKEN}-2"}, 404),
    ],
)
async def test_a_token_is_needed(headers: dict[str, Any], status: int) -> None:
    app = standalone(authentication=BearerTokens([TOKEN, f"{TOKEN}-2"]))
    async with endpoint(app, client=("203.0.113.7", 4711)) as client:
        answer = await client.get("/task-updates/UPPER", headers=headers)
        assert answer.status_code == status
        check_form(answer)
        if status == 401:
            assert answer.headers["www-authenticate"].startswith('Bearer realm="taskroll"')
            assert ("invalid_token" in answer.headers["www-authenticate"]) == (
                "Bearer" in str(headers) and len(str(headers)) > 30
            )


async def test_nothing_is_read_of_a_request_without_a_token() -> None:
    read: list[bytes] = []

    async def chunks() -> AsyncIterator[bytes]:
        read.append(b"{}")
        yield b"{}"

    async with endpoint(standalone(authentication=BearerTokens([TOKEN]))) as client:
        answer = await client.post(
            "/task-updates", content=chunks(), headers={**KEY, "Content-Type": "application/json"}
        )
    assert answer.status_code == 401
    assert read == []


@pytest.mark.parametrize(
    ("url", "peer", "status"),
    [
        ("http://127.0.0.1", "127.0.0.1", 404),
        ("http://localhost:8470", "127.0.0.1", 404),
        ("http://[::1]:8470", "::1", 404),
        ("http://127.0.0.1", "203.0.113.7", 401),
        ("http://198.51.100.1", "127.0.0.1", 401),
        # A web page that points a name of its own at 127.0.0.1.
        ("http://evil.example", "127.0.0.1", 401),
    ],
)
async def test_without_a_token_only_this_machine_is_served(url: str, peer: str, status: int) -> None:
    async with endpoint(standalone(), client=(peer, 4711)) as client:
        assert (await client.get(f"{url}/task-updates/UPPER")).status_code == status


async def test_health_needs_no_token() -> None:
    async with endpoint(standalone(authentication=BearerTokens([TOKEN]))) as client:
        assert (await client.get("/healthz")).json() == {"status": "ok"}
