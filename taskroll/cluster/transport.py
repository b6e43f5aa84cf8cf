"""The only place that touches the kubernetes package: one call in, one answer out, nothing interpreted.

Objects travel as plain JSON, not as the package's models, because a restored object has to be what was read, byte for
byte, with the fields that those models do not know. The rest of `taskroll.cluster` sees `Call`, `Reply` and
`Transport`; tests wrap a transport to lose answers.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol, cast

JsonObject = dict[str, Any]
Verb = Literal["read", "list", "create", "replace", "apply", "delete"]

JSON = "application/json"
APPLY = "application/apply-patch+yaml"
METADATA_ONLY = "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1"
METADATA_LIST = "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1"

_METHODS: dict[Verb, str] = {
    "read": "GET",
    "list": "GET",
    "create": "POST",
    "replace": "PUT",
    "apply": "PATCH",
    "delete": "DELETE",
}


@dataclass(frozen=True)
class Call:
    """One request to the API server.

    Attributes:
        verb: What is asked, in the words of the error messages.
        path: Without the server's address.
        kind: Of the object, for messages.
        name: Of the object; None for a list.
        query: Query parameters.
        body: The JSON to send.
        content_type: Of the body.
        accept: The form of the answer.
    """

    verb: Verb
    path: str
    kind: str
    name: str | None = None
    query: Mapping[str, str] = field(default_factory=dict[str, str])
    body: JsonObject | None = None
    content_type: str = JSON
    accept: str = JSON

    @property
    def method(self) -> str:
        return _METHODS[self.verb]

    @property
    def is_write(self) -> bool:
        return self.method != "GET"

    @property
    def subject(self) -> str:
        return f"{self.kind}/{self.name}" if self.name else self.kind


@dataclass(frozen=True)
class Reply:
    """The answer, whatever its status. Header names are lower case."""

    status: int
    body: bytes
    headers: Mapping[str, str] = field(default_factory=dict[str, str])


class Transport(Protocol):
    """Sends one call. Raises OSError, TimeoutError or aiohttp's ClientError where no answer came."""

    async def send(self, call: Call, seconds: float) -> Reply:
        """Send it and read the whole answer within that many seconds."""
        ...

    async def close(self) -> None:
        """Close the connections."""
        ...


class KubernetesTransport:
    """The official client's connection pool and credentials.

    Args:
        client: A `kubernetes.aio.client.ApiClient`.
        reload: Reads the credentials again, into the client's configuration. Called once when the server answers 401,
            since tokens from an exec plugin or a file expire while a worker lives on.
    """

    def __init__(self, client: object, reload: Callable[[], Awaitable[None]] | None = None) -> None:
        # The package's own annotations leave most of what is used here unknown.
        self._client = cast(Any, client)
        self._reload = reload

    async def send(self, call: Call, seconds: float) -> Reply:
        """Send it and read the whole answer within that many seconds."""
        reply = await self._send(call, seconds)
        if reply.status == 401 and self._reload is not None:
            await self._reload()
            reply = await self._send(call, seconds)
        return reply

    async def _send(self, call: Call, seconds: float) -> Reply:
        method, url, headers, body, _ = await self._client.param_serialize(
            call.method,
            call.path,
            query_params=list(call.query.items()),
            header_params={"Accept": call.accept, "Content-Type": call.content_type},
            body=call.body,
            auth_settings=["BearerToken"],
        )
        answer = await self._client.call_api(method, url, headers, body, _request_timeout=seconds)
        content = cast(bytes, await answer.read())
        received = cast("Mapping[str, str]", answer.headers)
        return Reply(int(answer.status), content, {name.lower(): value for name, value in received.items()})

    async def close(self) -> None:
        """Close the connections."""
        await self._client.close()
