"""How reads and the watch take what an API server, or a proxy before it, may answer."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import aclosing
from typing import Any

import httpx
import pytest

from taskroll_agent import AgentSettings, ClusterError, kube_api
from taskroll_agent.cluster import KubeCluster, PointerState
from taskroll_agent.contracts import POINTER_NAME, ReleasePointer
from taskroll_agent.errors import ClusterForbidden, ClusterUnavailable, CorruptObject

DIGEST = "sha256:" + "1" * 64


def pointer(epoch: int) -> ReleasePointer:
    return ReleasePointer(epoch=epoch, release=f"release-{epoch}", request_id="req", content_digest=DIGEST)


def config_map(epoch: int, version: int) -> dict[str, Any]:
    return {"metadata": {"name": POINTER_NAME, "resourceVersion": str(version)}, "data": pointer(epoch).data()}


def listed(epoch: int | None, version: int) -> httpx.Response:
    items = [] if epoch is None else [config_map(epoch, version)]
    return httpx.Response(200, json={"metadata": {"resourceVersion": str(version)}, "items": items})


def event(kind: str, body: dict[str, Any]) -> bytes:
    return json.dumps({"type": kind, "object": body}).encode() + b"\n"


GONE = event("ERROR", {"kind": "Status", "code": 410, "reason": "Expired", "message": "too old resource version"})
BOOKMARK = event("BOOKMARK", {"metadata": {"resourceVersion": "77"}})


def watched(*chunks: bytes, then: Exception | None = None, forever: bool = False) -> httpx.Response:
    async def body() -> AsyncIterator[bytes]:
        for chunk in chunks:
            yield chunk
        if forever:
            await asyncio.Event().wait()
        if then is not None:
            raise then

    return httpx.Response(200, content=body())


class Script:
    """Answers each request with the next of the script, and keeps what was asked."""

    def __init__(self, *answers: httpx.Response | Exception) -> None:
        self._answers: Iterator[httpx.Response | Exception] = iter(answers)
        self.asked: list[httpx.URL] = []
        self.ended = asyncio.Event()

    async def __call__(self, request: httpx.Request) -> httpx.Response:
        self.asked.append(request.url)
        answer = next(self._answers, None)
        if answer is None:
            self.ended.set()
            await asyncio.Event().wait()
        if isinstance(answer, Exception):
            raise answer
        assert answer is not None
        return answer


@pytest.fixture
def cluster(settings: AgentSettings, monkeypatch: pytest.MonkeyPatch) -> Callable[..., KubeCluster]:
    monkeypatch.setattr(kube_api.Backoff, "next", lambda self: 0.001 if self._cap <= 10 else 3600)
    changed = settings.model_copy(update={"resync_interval": 3600.0, "read_timeout": 0.2})
    return lambda script: KubeCluster(changed, httpx.MockTransport(script))


async def follow(cluster: KubeCluster, script: Script) -> list[int | str | None]:
    """Epochs, problems and errors that were heard until the script ended."""
    heard: list[int | str | None] = []

    async def listen() -> None:
        async with aclosing(cluster.follow_pointer()) as news:  # type: ignore[type-var]
            async for one in news:
                if isinstance(one, PointerState):
                    heard.append(one.pointer.epoch if one.pointer else one.problem)
                else:
                    heard.append(f"{type(one).__name__}: {one}")

    task = asyncio.create_task(listen())
    async with asyncio.timeout(10):
        await script.ended.wait()
    await asyncio.sleep(0)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    return heard


async def test_list_then_watch_from_there(cluster: Callable[..., KubeCluster]) -> None:
    script = Script(
        listed(1, 10),
        watched(
            event("MODIFIED", config_map(2, 11)), BOOKMARK,
            event("DELETED", config_map(2, 12)), event("ADDED", config_map(3, 13)),
        ),
        watched(),
    )  # fmt: skip
    assert await follow(cluster(script), script) == [1, 2, None, 3]
    select = f"metadata.name={POINTER_NAME}"
    assert all(url.params["fieldSelector"] == select for url in script.asked)
    assert [url.params.get("resourceVersion") for url in script.asked] == [None, "10", "13", "13"]
    assert all(url.path == "/api/v1/namespaces/tests/configmaps" for url in script.asked)
    assert (
        script.asked[1].params["allowWatchBookmarks"] == "1" or script.asked[1].params["allowWatchBookmarks"] == "true"
    )


async def test_a_bookmark_moves_the_place_to_go_on_from(cluster: Callable[..., KubeCluster]) -> None:
    script = Script(listed(None, 10), watched(BOOKMARK), watched())
    assert await follow(cluster(script), script) == [None]
    assert [url.params.get("resourceVersion") for url in script.asked] == [None, "10", "77", "77"]


@pytest.mark.parametrize(
    "gone", [httpx.Response(410, json={"message": "too old"}), watched(GONE), watched(BOOKMARK, GONE)]
)
async def test_410_lists_again(cluster: Callable[..., KubeCluster], gone: httpx.Response) -> None:
    script = Script(listed(1, 10), gone, listed(2, 20), watched())
    assert await follow(cluster(script), script) == [1, 2]
    assert script.asked[-1].params["resourceVersion"] == "20"


@pytest.mark.parametrize(
    ("trouble", "said"),
    [
        (httpx.ConnectError("refused"), "ClusterUnavailable: watch: ConnectError: refused"),
        (httpx.ReadTimeout("silent"), "ClusterUnavailable: watch: ReadTimeout: silent"),
        (watched(BOOKMARK, then=httpx.ReadError("reset")), "ClusterUnavailable: watch: ReadError: reset"),
        (watched(then=httpx.RemoteProtocolError("cut")), "ClusterUnavailable: watch: RemoteProtocolError: cut"),
        (watched(b'{"type": "MODI'), "ClusterUnavailable: the API server's answer is not JSON; a proxy in between?"),
        (watched(b"[]\n"), "ClusterError: the API server's answer is not a JSON object"),
        (watched(event("ERROR", {"code": 500, "reason": "InternalError", "message": "etcd"})),
         "ClusterUnavailable: watch: InternalError: etcd"),
        (httpx.Response(503, text="no"), "ClusterUnavailable: watch: HTTP 503"),
        (httpx.Response(429, text="slow down"), "ClusterUnavailable: watch: HTTP 429"),
        (httpx.Response(403, json={"message": "RBAC"}),
         "ClusterForbidden: the API server refused the read: HTTP 403: RBAC"),
        (httpx.Response(302, headers={"Location": "http://elsewhere"}),
         "ClusterError: the API server answered HTTP 302: "),
    ],
)  # fmt: skip
async def test_any_other_trouble_is_told_and_lists_again(
    cluster: Callable[..., KubeCluster], trouble: httpx.Response | Exception, said: str
) -> None:
    script = Script(listed(1, 10), trouble, listed(2, 20), watched())
    assert await follow(cluster(script), script) == [1, said, 2]


async def test_a_pointer_that_was_edited_is_told_as_such(cluster: Callable[..., KubeCluster]) -> None:
    edited = config_map(2, 11)
    edited["data"]["epoch"] = "9"
    missing = {"metadata": {"resourceVersion": "12"}}
    script = Script(listed(1, 10), watched(event("MODIFIED", edited), event("MODIFIED", missing)))
    heard = await follow(cluster(script), script)
    assert heard[0] == 1
    assert all("does not match its content" in str(one) for one in heard[1:])
    assert len(heard) == 3


async def test_a_pointer_with_fields_that_make_no_sense(cluster: Callable[..., KubeCluster]) -> None:
    from taskroll_agent.contracts import sha256_digest

    fields = {"epoch": "0", "release": "r", "request_id": "q", "content_digest": "x"}
    made = {"metadata": {"resourceVersion": "11"}, "data": {**fields, "digest": sha256_digest(fields)}}
    script = Script(listed(1, 10), watched(event("MODIFIED", made)))
    heard = await follow(cluster(script), script)
    assert "epoch: Input should be greater than or equal to 1" in str(heard[1])


async def test_what_the_watch_said_is_not_taken_back_by_a_re_read_that_was_under_way(
    settings: AgentSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kube_api.Backoff, "next", lambda self: 0.001)
    reading, answer = asyncio.Event(), asyncio.Event()
    lists = 0

    async def serve(request: httpx.Request) -> httpx.Response:
        nonlocal lists
        if "watch" in request.url.params:
            await reading.wait()
            return watched(event("MODIFIED", config_map(2, 11)), forever=True)
        lists += 1
        if lists == 1:
            return listed(1, 10)
        if lists == 2:
            reading.set()
            await answer.wait()
            return listed(1, 10)
        return listed(2, 11)

    cluster = KubeCluster(settings, httpx.MockTransport(serve))
    heard: list[int] = []
    async with asyncio.timeout(10), aclosing(cluster.follow_pointer()) as news:  # type: ignore[type-var]
        async for one in news:
            assert isinstance(one, PointerState)
            assert one.pointer is not None
            heard.append(one.pointer.epoch)
            if heard[-1] == 2:
                answer.set()
            if len(heard) == 4:
                break
    assert heard == [1, 2, 2, 2]


@pytest.mark.parametrize(
    "trouble",
    [
        httpx.Response(429, headers={"Retry-After": "0"}),
        httpx.Response(429, headers={"Retry-After": "Wed, 21 Oct 2026 07:28:00 GMT"}),
        httpx.Response(500),
        httpx.Response(503),
        httpx.Response(504),
        httpx.ConnectError("refused"),
        httpx.ReadTimeout("slow"),
        httpx.RemoteProtocolError("cut"),
    ],
)
async def test_reads_are_tried_again(cluster: Callable[..., KubeCluster], trouble: httpx.Response | Exception) -> None:
    script = Script(trouble, trouble, listed(3, 10))
    assert (await cluster(script).pointer()).pointer == pointer(3)
    assert len(script.asked) == 3


async def test_a_read_ends_within_its_time(cluster: Callable[..., KubeCluster]) -> None:
    script = Script(*[httpx.ConnectError("refused")] * 10_000)
    with pytest.raises(ClusterUnavailable, match=r"could not be read for 0\.2 s: ConnectError: refused"):
        await cluster(script).pointer()
    waits = Script(httpx.Response(429, headers={"Retry-After": "5"}))
    with pytest.raises(ClusterUnavailable, match="HTTP 429"):
        await cluster(waits).pointer()
    assert len(waits.asked) == 1, "waiting longer than the read may take is no use"


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (httpx.Response(401), ClusterForbidden),
        (httpx.Response(403), ClusterForbidden),
        (httpx.Response(400, json={"message": "bad"}), ClusterError),
        (httpx.Response(200, text="<html>"), ClusterUnavailable),
        (httpx.Response(200, json=[]), ClusterError),
    ],
)
async def test_answers_that_no_retry_mends(
    cluster: Callable[..., KubeCluster], answer: httpx.Response, error: type[Exception]
) -> None:
    script = Script(answer)
    with pytest.raises(error):
        await cluster(script).pointer()
    assert len(script.asked) == 1


async def test_a_revision_without_data(cluster: Callable[..., KubeCluster]) -> None:
    with pytest.raises(CorruptObject, match="holds no data"):
        await cluster(Script(httpx.Response(200, json={"metadata": {}}))).release("r")


async def test_the_token_is_read_for_each_request(settings: AgentSettings, tmp_path: Any) -> None:
    file = tmp_path / "token"
    shown: list[str | None] = []

    async def serve(request: httpx.Request) -> httpx.Response:
        shown.append(request.headers.get("Authorization"))
        return listed(1, 1)

    cluster = KubeCluster(
        settings.model_copy(update={"kube_token_file": file, "read_timeout": 0.05}), httpx.MockTransport(serve)
    )
    with pytest.raises(ClusterUnavailable, match="token file: No such file"):
        await cluster.pointer()
    for token in ("one", "two"):
        file.write_text(token + "\n")
        await cluster.pointer()
    assert shown == ["Bearer one", "Bearer two"]


def test_delays_grow_to_the_cap_and_differ() -> None:
    backoff = kube_api.Backoff(base=1, cap=8)
    delays = [backoff.next() for _ in range(8)]
    for n, delay in enumerate(delays):
        assert min(8, 2**n) / 2 <= delay <= min(8, 2**n)
    assert len(set(delays)) == 8
    backoff.reset()
    assert backoff.next() <= 1
