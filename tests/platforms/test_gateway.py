"""The calls to the gateway: what is made of answers that a real one gives seldom."""

from collections.abc import AsyncGenerator, Awaitable, Callable
from dataclasses import dataclass, field

import pytest
from aiohttp import web

from taskroll.models.errors import GatewayUnavailable
from taskroll.platforms.cornserve.gateway import MAX_ANSWER, AppRefused, Gateway
from taskroll.services.configuration import GatewayAddress, PlatformConfig, TokenSource

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


@dataclass
class Server:
    """Answers every path with what the test says."""

    url: str = ""
    answer: Callable[[web.Request], web.StreamResponse] = lambda request: web.Response()
    requests: list[web.Request] = field(default_factory=list)

    async def handle(self, request: web.Request) -> web.StreamResponse:
        self.requests.append(request)
        return self.answer(request)

    def says(self, text: str, status: int = 200, **headers: str) -> None:
        self.answer = lambda request: web.Response(text=text, status=status, headers=headers)


@pytest.fixture
async def server() -> AsyncGenerator[Server]:
    server, app = Server(), web.Application()
    app.router.add_route("*", "/{path:.*}", server.handle)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.0)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    server.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    yield server
    await runner.cleanup()


@pytest.fixture
async def gateway(server: Server, monkeypatch: pytest.MonkeyPatch) -> AsyncGenerator[Gateway]:
    monkeypatch.setenv("GATEWAY_TOKEN", "the-token")
    config = PlatformConfig(
        kind="cornserve",
        gateway=GatewayAddress(url=server.url + "/behind"),
        token=TokenSource(env="GATEWAY_TOKEN"),
        timeout=0.5,
        change_timeout=0.5,
    )
    async with Gateway(config) as gateway:
        yield gateway


async def ignore(app_id: str) -> None:
    pass


async def test_lists_are_read_in_their_order_with_the_token(server: Server, gateway: Gateway) -> None:
    server.says('{"app-2": "ready", "app-1": "not ready"}')
    assert list((await gateway.apps("n")).items()) == [("app-2", "ready"), ("app-1", "not ready")]
    server.says('[[{"model": "a"}, "encodertask-1", "ready"]]')
    assert await gateway.tasks("n") == {"encodertask-1": "ready"}
    assert [request.path for request in server.requests] == ["/behind/app/list", "/behind/tasks/list"]
    assert {request.headers["Authorization"] for request in server.requests} == {"Bearer the-token"}


@pytest.mark.parametrize(
    ("text", "status", "said"),
    [
        ("[]", 200, "answers something else than a mapping of apps"),
        ("<html>", 200, "answers no JSON"),
        ('{"a": "' + "x" * MAX_ANSWER + '"}', 200, "or too much"),
        ("boom", 500, "answers 500: boom"),
        ("", 401, "answers 401; compare platform.token"),
        ("", 404, "answers 404"),
    ],
)
async def test_answer_that_is_no_list_of_apps(
    server: Server, gateway: Gateway, text: str, status: int, said: str
) -> None:
    server.says(text, status)
    with pytest.raises(GatewayUnavailable, match=said) as caught:
        await gateway.apps("n")
    assert server.url in caught.value.message
    assert caught.value.retryable


async def test_redirect_is_not_followed(server: Server, gateway: Gateway) -> None:
    server.says("", 307, Location=f"{server.url}/elsewhere")
    with pytest.raises(GatewayUnavailable, match="answers 307"):
        await gateway.apps("n")
    assert len(server.requests) == 1


async def test_nobody_listens(server: Server, gateway: Gateway) -> None:
    gateway.config = gateway.config.model_copy(update={"gateway": GatewayAddress(url="http://127.0.0.1:9")})
    with pytest.raises(GatewayUnavailable, match=r"gateway http://127\.0\.0\.1:9: /app/list: "):
        await gateway.apps("n")


@pytest.mark.parametrize(("status", "answer"), [(200, "stopped"), (404, "unknown")])
async def test_unregister(server: Server, gateway: Gateway, status: int, answer: str) -> None:
    server.says("App ID does not exist", status)
    assert await gateway.unregister("n", "app-1") == answer
    assert [request.path for request in server.requests] == ["/behind/app/unregister/app-1"]


async def test_register_tells_the_id_before_the_end(server: Server, gateway: Gateway) -> None:
    server.says(
        'data: {"event": {"type": "initial", "app_id": "app-1", "task_names": []}}\n\n'
        'data: {"event": {"type": "final", "message": "done"}}\n\n'
    )
    told: list[str] = []

    async def on_named(app_id: str) -> None:
        told.append(app_id)

    assert await gateway.register("n", "source", on_named) == "app-1"
    assert told == ["app-1"]


@pytest.mark.parametrize(
    "text",
    [
        "",
        'data: {"event": {"type": "initial", "app_id": "app-1"}}\n\n',
        'data: {"event": {"type": "final", "message": "done"}}\n\n',
        "data: nothing\n\n",
        "data: []\n\n",
    ],
)
async def test_registration_without_an_end_may_have_happened(server: Server, gateway: Gateway, text: str) -> None:
    server.says(text)
    with pytest.raises(GatewayUnavailable, match="/app/register"):
        await gateway.register("n", "source", ignore)


@pytest.mark.parametrize(
    ("message", "shown", "is_for_its_source"),
    [
        ("App source code validation failed: Missing 'serve' function", None, True),
        ("Failed to deploy tasks: Error while deploying tasks", None, False),
        (
            "Failed to deploy tasks: (403)\\nReason: Forbidden\\nHTTP response headers: <A>\\nHTTP response body: "
            r"{\"kind\":\"Status\",\"message\":\"it is under update \\\"u\\\"\",\"code\":403}\n",
            'Failed to deploy tasks: it is under update "u"',
            False,
        ),
    ],
)
async def test_app_that_is_refused(
    server: Server, gateway: Gateway, message: str, shown: str | None, is_for_its_source: bool
) -> None:
    server.says('data: {"event": {"type": "error", "message": "' + message + '"}}\n\n')
    with pytest.raises(AppRefused) as caught:
        await gateway.register("n", "source", ignore)
    assert caught.value.message == (shown or message)
    assert caught.value.is_for_its_source is is_for_its_source
