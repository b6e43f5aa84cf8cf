"""Reads of the Kubernetes API over httpx: one client per process, retries with backoff, and a watch that survives."""

import asyncio
import json
import random
import ssl
from collections.abc import AsyncGenerator, AsyncIterator, Generator, Mapping
from contextlib import asynccontextmanager
from typing import Any, Final

import httpx

from .errors import ClusterError, ClusterForbidden, ClusterUnavailable, NotInCluster
from .settings import AgentSettings

ATTEMPT_TIMEOUT: Final = 5.0
"""Seconds for one try of a read. A healthy API server answers a small object in milliseconds."""

WATCH_SECONDS: Final = 240
"""Asked of the server for one watch request; it also bounds how long a watch that went silent unnoticed lives."""

WATCH_SILENCE: Final = 90.0
"""Seconds without a byte after which a watch counts as dead. The server sends a bookmark about once a minute
(``defaultBookmarkFrequency`` in its watch cache), so a live one is never silent for so long."""

MAX_CONNECTIONS: Final = 8
"""For reads; the watch has one more. httpx looks at every connection of its pool for every request: 8 read 200
revisions in the same time as 16 do (1.1 s on a busy two-core machine), with two thirds of the processor time (0.3
s)."""

_RETRYABLE: Final = frozenset({408, 429, 500, 502, 503, 504})


class Backoff:
    """Delays that double from `base` to `cap` seconds, each up to a half shorter by chance, so replicas spread."""

    def __init__(self, base: float = 0.1, cap: float = 5.0) -> None:
        self._base, self._cap, self._tries = base, cap, 0

    def reset(self) -> None:
        self._tries = 0

    def next(self) -> float:
        ceiling = min(self._cap, self._base * 2 ** min(self._tries, 30))
        self._tries += 1
        return ceiling * random.uniform(0.5, 1.0)  # noqa: S311  spreading load, not a secret


class ResourceExpired(ClusterError):
    """The resource version to watch from is too old (410): list again."""


class KubeApi:
    """GET and watch against one API server. Made for a loop: open and close it on the same one."""

    def __init__(self, settings: AgentSettings, transport: httpx.AsyncBaseTransport | None = None) -> None:
        """`transport` stands in for the network in tests."""
        self._budget = settings.read_timeout
        self._client = httpx.AsyncClient(
            transport=transport,
            base_url=settings.kube_url,
            verify=_tls(settings),
            auth=_BearerAuth(settings),
            timeout=httpx.Timeout(ATTEMPT_TIMEOUT),
            limits=httpx.Limits(max_connections=MAX_CONNECTIONS + 1, max_keepalive_connections=MAX_CONNECTIONS + 1),
            headers={"Accept": "application/json", "User-Agent": "taskroll-agent"},
            # The API server is never behind the proxy that a service's environment may name.
            trust_env=False,
        )

    async def aclose(self) -> None:
        await self._client.aclose()

    async def get(self, path: str, params: Mapping[str, str] | None = None, *, missing: str) -> dict[str, Any]:
        """Return the JSON object at `path`; transport errors, 429 and 5xx are tried again within the read's time.

        Raises:
            NotInCluster: on 404, with the text `missing`.
            ClusterForbidden: on 401 or 403.
            ClusterUnavailable: where the time ran out.
            ClusterError: on any other answer.
        """
        loop = asyncio.get_running_loop()
        deadline = loop.time() + self._budget
        backoff = Backoff(cap=2.0)
        while True:
            retry_after = 0.0
            try:
                response = await self._client.get(path, params=params)
            except httpx.TransportError as error:
                trouble = f"{type(error).__name__}: {error}"
            else:
                if response.status_code == 200:
                    return _json_object(response.content)
                _raise_unless_retryable(response.status_code, response.text, missing)
                retry_after = _seconds(response.headers.get("Retry-After"))
                trouble = f"HTTP {response.status_code}"
            delay = max(backoff.next(), retry_after)
            if loop.time() + delay >= deadline:
                raise ClusterUnavailable(f"the API server could not be read for {self._budget:g} s: {trouble}")
            await asyncio.sleep(delay)

    @asynccontextmanager
    async def watch(self, path: str, params: Mapping[str, str]) -> AsyncGenerator[AsyncIterator[dict[str, Any]]]:
        """One watch request: the events until the server ends it. No retry here: the caller lists again first.

        Raises:
            ResourceExpired: where the resource version is too old.
            ClusterUnavailable: where the connection could not be made, broke, or fell silent.
            ClusterForbidden, ClusterError: on other answers.
        """
        asked = {**params, "watch": "1", "allowWatchBookmarks": "true", "timeoutSeconds": str(WATCH_SECONDS)}
        timeout = httpx.Timeout(ATTEMPT_TIMEOUT, read=WATCH_SILENCE)
        try:
            async with self._client.stream("GET", path, params=asked, timeout=timeout) as response:
                if response.status_code != 200:
                    text = (await response.aread()).decode(errors="replace")
                    if response.status_code == 410:
                        raise ResourceExpired("the resource version is too old")
                    _raise_unless_retryable(response.status_code, text, "nothing to watch")
                    raise ClusterUnavailable(f"watch: HTTP {response.status_code}")
                yield _events(response)
        except httpx.TransportError as error:
            raise ClusterUnavailable(f"watch: {type(error).__name__}: {error}") from error


async def _events(response: httpx.Response) -> AsyncIterator[dict[str, Any]]:
    async for line in response.aiter_lines():
        if not line:
            continue
        event = _json_object(line.encode())
        if event.get("type") == "ERROR":
            status = event.get("object", {})
            if status.get("code") == 410:
                raise ResourceExpired("the resource version is too old")
            raise ClusterUnavailable(f"watch: {status.get('reason')}: {status.get('message')}")
        yield event


class _BearerAuth(httpx.Auth):
    """Adds the token, read from its file for each request: it is small, and a rotated one is never missed."""

    def __init__(self, settings: AgentSettings) -> None:
        self._fixed, self._file = settings.kube_token, settings.kube_token_file

    def auth_flow(self, request: httpx.Request) -> Generator[httpx.Request, httpx.Response, None]:
        token = self._fixed
        if self._file is not None:
            try:
                token = self._file.read_text().strip()
            except OSError as error:
                raise httpx.TransportError(f"token file: {error.strerror}") from error
        if token:
            request.headers["Authorization"] = f"Bearer {token}"
        yield request


def _tls(settings: AgentSettings) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=str(settings.kube_ca_file) if settings.kube_ca_file else None)
    if settings.kube_insecure:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    if settings.kube_cert_file is not None:
        context.load_cert_chain(str(settings.kube_cert_file), settings.kube_key_file and str(settings.kube_key_file))
    return context


def _raise_unless_retryable(status: int, text: str, missing: str) -> None:
    if status in _RETRYABLE:
        return
    if status == 404:
        raise NotInCluster(missing)
    if status in (401, 403):
        raise ClusterForbidden(f"the API server refused the read: HTTP {status}: {_message(text)}")
    raise ClusterError(f"the API server answered HTTP {status}: {_message(text)}")


def _message(text: str) -> str:
    try:
        return str(json.loads(text)["message"])[:300]
    except (ValueError, KeyError, TypeError):
        return text[:300]


def _json_object(content: bytes) -> dict[str, Any]:
    try:
        value = json.loads(content)
    except ValueError as error:
        raise ClusterUnavailable("the API server's answer is not JSON; a proxy in between?") from error
    if not isinstance(value, dict):
        raise ClusterError("the API server's answer is not a JSON object")
    return value  # pyright: ignore[reportUnknownVariableType]


def _seconds(value: str | None) -> float:
    try:
        return min(float(value or 0), 30.0)
    except ValueError:
        return 0.0
