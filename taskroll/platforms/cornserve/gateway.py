"""The gateway's HTTP calls that an update needs: which apps and tasks there are, register, unregister."""

from __future__ import annotations

import json
import re
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any, Literal, cast

import httpx

from taskroll.models.errors import GatewayUnavailable, TaskrollError
from taskroll.services.configuration import PlatformConfig

CONNECT_TIMEOUT = 3.0
MAX_ANSWER = 16 * 1024 * 1024
"""Bytes of an answer. A task in the list is some hundred bytes."""
SHOWN = 500
"""Characters of the gateway's own words in a message."""
_REFUSAL = re.compile(r'HTTP response body: .*?"message":\s*("(?:[^"\\]|\\.)*")', re.DOTALL)


class AppRefused(TaskrollError):
    """The gateway does not register the app."""

    code = "AppRefused"

    @property
    def is_for_its_source(self) -> bool:
        """Whether the source does not load, or is no app. So it is with any source in a gateway that has just started
        and not read its definitions yet."""
        return "validation failed" in self.message


class Gateway:
    """One per worker process; open it with ``async with``.

    Redirects are not followed and proxies of the environment not used: the token goes to the configured address only.
    """

    def __init__(self, config: PlatformConfig) -> None:
        self.config = config
        # No connection is kept and none is waited for: a call that was cancelled can leave nothing behind in a pool.
        limits = httpx.Limits(max_connections=None, max_keepalive_connections=0)
        self._client = httpx.AsyncClient(follow_redirects=False, trust_env=False, limits=limits)

    async def __aenter__(self) -> Gateway:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._client.aclose()

    async def apps(self, namespace: str) -> dict[str, str]:
        """Id → state (``ready``, ``not ready``) of the registered apps, the oldest first.

        Raises:
            GatewayUnavailable: where there is no answer, or none of this form.
        """
        answer = await self._get(namespace, "/app/list")
        if not isinstance(answer, dict):
            raise self._unavailable(namespace, "/app/list answers something else than a mapping of apps")
        return {str(name): str(state) for name, state in cast("dict[object, object]", answer).items()}

    async def tasks(self, namespace: str) -> dict[str, str]:
        """Id → state of the deployed unit tasks. The id is also the name of the task's ``UnitTaskInstance``.

        Raises:
            GatewayUnavailable: where there is no answer, or none of this form.
        """
        answer = await self._get(namespace, "/tasks/list")
        try:
            return {str(name): str(state) for _, name, state in cast("list[tuple[Any, Any, Any]]", answer)}
        except (TypeError, ValueError):
            raise self._unavailable(namespace, "/tasks/list answers something else than a list of tasks") from None

    async def unregister(self, namespace: str, app_id: str) -> Literal["stopped", "unknown"]:
        """Unregister an app: calls in flight are cancelled, tasks that no other app uses are torn down.

        Raises:
            GatewayUnavailable: where it does not answer, or could not tear everything down. The app is unregistered
                all the same in the second case: its tasks are what is left.
        """
        async with self._answer("POST", namespace, f"/app/unregister/{app_id}", self.config.change_timeout) as response:
            if response.status_code == 404:
                return "unknown"
            await self._check(namespace, response)
            return "stopped"

    async def register(self, namespace: str, source: str, on_named: Callable[[str], Awaitable[None]]) -> str:
        """Register an app; return its id once its tasks are deployed.

        Args:
            on_named: told the id as soon as the gateway gives it, before anything is deployed.

        Raises:
            AppRefused: with the gateway's own words.
            GatewayUnavailable: where it does not answer, or the answer breaks off: the app may be registered.
        """
        app_id: str | None = None
        body = {"source_code": source}
        path, limit = "/app/register", self.config.change_timeout
        async with self._answer("POST", namespace, path, limit, body) as response:
            await self._check(namespace, response)
            async for event in self._events(namespace, response):
                match event.get("type"):
                    case "initial":
                        app_id = str(event.get("app_id"))
                        await on_named(app_id)
                    case "error":
                        raise AppRefused(_in_short(str(event.get("message"))))
                    case "final" if app_id is not None:
                        return app_id
                    case _:
                        pass
        raise self._unavailable(namespace, "/app/register broke off before it said how it ended")

    async def _events(self, namespace: str, response: httpx.Response) -> AsyncIterator[dict[str, Any]]:
        """The server-sent events of a registration; each is one line of JSON."""
        async for line in response.aiter_lines():
            if line.startswith("data:"):
                try:
                    event = json.loads(line.removeprefix("data:"))["event"]
                    event["type"]
                except (ValueError, TypeError, KeyError):
                    raise self._unavailable(namespace, "/app/register answers what is no event") from None
                yield event

    async def _get(self, namespace: str, path: str) -> object:
        async with self._answer("GET", namespace, path, self.config.timeout) as response:
            await self._check(namespace, response)
            try:
                return json.loads(await _limited(response))
            except ValueError:
                raise self._unavailable(namespace, f"{path} answers no JSON, or too much") from None

    @asynccontextmanager
    async def _answer(
        self, method: str, namespace: str, path: str, within: float, body: object = None
    ) -> AsyncGenerator[httpx.Response]:
        headers: dict[str, str] = {}
        if self.config.token is not None:
            headers["Authorization"] = f"Bearer {self.config.token.read().get_secret_value()}"
        url = self.config.gateway.base_url(namespace) + path
        limits = httpx.Timeout(within, connect=CONNECT_TIMEOUT)
        try:
            async with self._client.stream(method, url, json=body, headers=headers, timeout=limits) as response:
                yield response
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise self._unavailable(namespace, f"{path}: {str(error) or type(error).__name__}") from error

    async def _check(self, namespace: str, response: httpx.Response) -> None:
        if response.status_code == 200:
            return
        path = response.url.path
        if response.status_code in (401, 403):
            raise self._unavailable(namespace, f"{path} answers {response.status_code}; compare platform.token")
        try:
            words = (await _limited(response)).decode("utf-8", errors="replace").strip()
        except ValueError:
            words = ""
        said = f": {words[:SHOWN]}" if words else ""
        raise self._unavailable(namespace, f"{path} answers {response.status_code}{said}")

    def _unavailable(self, namespace: str, what: str) -> GatewayUnavailable:
        return GatewayUnavailable(f"gateway {self.config.gateway.base_url(namespace)}: {what}")


def _in_short(words: str) -> str:
    """The gateway's words; of a refusal by the API server, which they hold whole, only its message."""
    refusal = _REFUSAL.search(words)
    if refusal is not None:
        words = f"{words.partition(':')[0]}: {json.loads(refusal.group(1))}"
    return words[:SHOWN]


async def _limited(response: httpx.Response) -> bytes:
    """The body.

    Raises:
        ValueError: where it is longer than `MAX_ANSWER`.
    """
    body = b""
    async for chunk in response.aiter_bytes():
        body += chunk
        if len(body) > MAX_ANSWER:
            raise ValueError("too long")
    return body
