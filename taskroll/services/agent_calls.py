"""The seam for calls to agents: one HTTP session per process, bounded, answers as values.

aiohttp, chosen by measurement (`benchmarks/fan_out.py`): one pooled httpx client scans all its connections for each
request and slows down with every replica more.
"""

import asyncio
import resource
import secrets
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from types import TracebackType
from typing import TypeVar

import aiohttp
from pydantic import BaseModel, SecretStr, ValidationError

from taskroll_agent.contracts import (
    API_PREFIX,
    AbortAnswer,
    AbortRequest,
    ActivateAnswer,
    ActivateRequest,
    Attestation,
    HoldAnswer,
    HoldRequest,
    PrepareAnswer,
    PrepareRequest,
    Refusal,
    ReleaseAnswer,
    ReleaseRequest,
)

from .answers import Answered, Invalid, ProcessEnded, Refused, ReplicaAnswer, Unauthorised, Unreachable, shorten
from .deadline import Deadline
from .replica import Replica

A = TypeVar("A", bound=BaseModel)

_IDLE_SECONDS = 4.0
_FILES_TO_KEEP_CONNECTIONS = 8192


@dataclass(frozen=True)
class CallLimits:
    """Bounds of the calls. Times in seconds."""

    concurrency: int = 128
    """Exchanges at a time in this process, over all updates. Quick answers are as fast with 32 or 256 (measured);
    more let slow prepares run side by side."""
    connect_timeout: float = 3.0
    call_timeout: float = 10.0
    """For one exchange of activate, abort or attest. An agent answers these in milliseconds."""
    prepare_timeout: float = 75.0
    """For one exchange of prepare: by default an agent gives up loading after 60 s and reading after 10 s."""
    attempts: int = 3
    """Exchanges at most for one call, where the replica is unreachable. All calls are idempotent."""
    first_pause: float = 0.1
    """Before the second attempt; doubled before each further one."""
    max_answer_bytes: int = 4 * 1024 * 1024
    """An attestation in full of 500 definitions is about 75 KB."""


class AgentCalls:
    """The calls to an agent, each to one replica. An async context manager; one per process.

    Goes only where discovery says: follows no redirect, knows no proxy, keeps no cookie. Every call ends within its
    own time-out and the deadline, and returns a `ReplicaAnswer`; only cancellation is raised.
    """

    def __init__(self, limits: CallLimits | None = None) -> None:
        self.limits = limits or CallLimits()
        self._slots = asyncio.Semaphore(self.limits.concurrency)
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> "AgentCalls":
        self._session = aiohttp.ClientSession(
            connector=_connector(),
            cookie_jar=aiohttp.DummyCookieJar(),
            # An answer that unpacks to gigabytes would pass the bound on its size.
            auto_decompress=False,
            headers={"Accept": "application/json", "Accept-Encoding": "identity"},
            trust_env=False,
        )
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        session, self._session = self._session, None
        if session is not None:
            await session.close()

    async def prepare(
        self, replica: Replica, token: SecretStr, request: PrepareRequest, deadline: Deadline
    ) -> ReplicaAnswer[PrepareAnswer]:
        """Have the replica load a generation beside its current one.

        Returns:
            `ProcessEnded` where the process ended meanwhile. It is not asked again: what it loaded may have ended it.
        """
        seconds = self.limits.prepare_timeout

        async def ended_since(sent: datetime) -> ProcessEnded | None:
            return await self._process_ended(replica, token, sent, deadline)

        answer = await self._call(
            replica, token, "POST", "/prepare", request, PrepareAnswer, seconds, deadline, when_lost=ended_since
        )
        if isinstance(answer, Answered) and answer.value.request_id != request.request_id:
            return Invalid(f"it answered for update {shorten(answer.value.request_id, 80)!r}, not for the one asked")
        return answer

    async def activate(
        self, replica: Replica, token: SecretStr, request: ActivateRequest, deadline: Deadline
    ) -> ReplicaAnswer[ActivateAnswer]:
        """Make a release current in the replica."""
        seconds = self.limits.call_timeout
        return await self._call(replica, token, "POST", "/activate", request, ActivateAnswer, seconds, deadline)

    async def abort(
        self, replica: Replica, token: SecretStr, request: AbortRequest, deadline: Deadline
    ) -> ReplicaAnswer[AbortAnswer]:
        """Have the replica drop what it prepared for an update."""
        seconds = self.limits.call_timeout
        return await self._call(replica, token, "POST", "/abort", request, AbortAnswer, seconds, deadline)

    async def hold(
        self, replica: Replica, token: SecretStr, request: HoldRequest, deadline: Deadline
    ) -> ReplicaAnswer[HoldAnswer]:
        """Have the replica hold new calls, and wait for those in flight: for as long as the request says."""
        seconds = self.limits.call_timeout + request.seconds
        return await self._call(replica, token, "POST", "/hold", request, HoldAnswer, seconds, deadline)

    async def release(
        self, replica: Replica, token: SecretStr, request: ReleaseRequest, deadline: Deadline
    ) -> ReplicaAnswer[ReleaseAnswer]:
        """Have the replica let the held calls go on."""
        seconds = self.limits.call_timeout
        return await self._call(replica, token, "POST", "/release", request, ReleaseAnswer, seconds, deadline)

    async def attest(
        self, replica: Replica, token: SecretStr, deadline: Deadline, *, full: bool = False, once: bool = False
    ) -> ReplicaAnswer[Attestation]:
        """Ask the replica what is live in it, with a nonce of its own for this question.

        Args:
            replica: Whom to ask.
            token: Its bearer token.
            deadline: By when.
            full: Whether it shall name each definition's digest too.
            once: Whether to leave another try to the caller, who asks in rounds.

        Returns:
            `Invalid` also where the answer carries another nonce: it was not made for this question.
        """
        nonce = secrets.token_hex(16)
        path = f"/attestation?nonce={nonce}" + ("&detail=full" if full else "")
        seconds = self.limits.call_timeout
        attempts = 1 if once else None
        answer = await self._call(replica, token, "GET", path, None, Attestation, seconds, deadline, attempts)
        if isinstance(answer, Answered) and answer.value.nonce != nonce:
            return Invalid("its attestation does not carry the nonce of the question: a cached or recorded answer")
        return answer

    async def _call(
        self,
        replica: Replica,
        token: SecretStr,
        method: str,
        path: str,
        body: BaseModel | None,
        form: type[A],
        seconds: float,
        deadline: Deadline,
        attempts: int | None = None,
        when_lost: Callable[[datetime], Awaitable[ProcessEnded | None]] | None = None,
    ) -> ReplicaAnswer[A]:
        if replica.obstacle is not None or replica.endpoint == "-":
            return Unreachable(replica.obstacle or "it has no address")
        url = f"http://{replica.endpoint}{API_PREFIX}{path}"
        payload = None if body is None else body.model_dump_json().encode()
        headers = {"Authorization": f"Bearer {token.get_secret_value()}"}

        async def exchange() -> ReplicaAnswer[A]:
            sent = datetime.now(UTC)
            answer = await self.exchange(url, headers, method, payload, form, seconds, deadline)
            if when_lost is not None and isinstance(answer, Unreachable) and answer.connection == "lost":
                return await when_lost(sent) or answer
            return answer

        return await self.persist(exchange, deadline, attempts)

    async def _process_ended(
        self, replica: Replica, token: SecretStr, sent: datetime, deadline: Deadline
    ) -> ProcessEnded | None:
        """Find out why an answer was lost: a connection may break although the process lives.

        Compares the start of the process with our clock. A clock of the replica that is behind by more than a restart
        takes makes the new process look like the old one.
        """
        answer = await self.attest(replica, token, deadline)
        match answer:
            case Answered(attestation) if attestation.started_at > sent:
                return ProcessEnded("its process ended while it loaded the new classes, and was started again since")
            case Unreachable(connection="none"):
                return ProcessEnded("its process ended while it loaded the new classes")
            case _:
                return None

    async def persist(
        self,
        exchange: Callable[[], Awaitable[ReplicaAnswer[A]]],
        deadline: Deadline,
        attempts: int | None = None,
    ) -> ReplicaAnswer[A]:
        """Make the exchange again while the replica is unreachable, `CallLimits.attempts` times at most."""
        pause = self.limits.first_pause
        attempt = 1
        while True:
            answer = await exchange()
            if not isinstance(answer, Unreachable) or attempt >= (attempts or self.limits.attempts):
                return answer
            if not await deadline.pause(pause):
                return answer
            attempt += 1
            pause *= 2

    async def exchange(
        self,
        url: str,
        headers: Mapping[str, str],
        method: str,
        payload: bytes | None,
        form: type[A],
        seconds: float,
        deadline: Deadline,
    ) -> ReplicaAnswer[A]:
        """One request within that many seconds, in its turn among all of this process."""
        if self._session is None:
            raise RuntimeError("AgentCalls is not open: use it as `async with AgentCalls() as calls`")
        if payload is not None:
            headers = {**headers, "Content-Type": "application/json"}
        async with self._slots:
            # Looked at only now: the line for a slot may have taken all the time there was.
            seconds = deadline.capped(seconds)
            if seconds <= 0:
                return Unreachable("not called: no time was left")
            bounds = aiohttp.ClientTimeout(total=seconds, connect=min(self.limits.connect_timeout, seconds))
            try:
                async with self._session.request(
                    method, url, data=payload, headers=headers, timeout=bounds, allow_redirects=False
                ) as response:
                    data = await self._bounded(response)
                    return _read(response, data, form)
            except (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError) as error:
                return Unreachable(shorten(f"{type(error).__name__}: {error}", 200), "none")
            except TimeoutError:
                return Unreachable(f"no answer within {seconds:.3g} s", "lost")
            except (aiohttp.ClientError, OSError, ValueError) as error:
                # ValueError: what aiohttp's parser raises for some answers that are not HTTP at all.
                return Unreachable(shorten(f"{type(error).__name__}: {error}", 200), "lost")

    async def _bounded(self, response: aiohttp.ClientResponse) -> bytes | None:
        """The body, or None where it is larger than the bound. The rest is not read."""
        limit = self.limits.max_answer_bytes
        parts: list[bytes] = []
        size = 0
        async for part in response.content.iter_any():
            size += len(part)
            if size > limit:
                return None
            parts.append(part)
        return b"".join(parts)


def _connector() -> aiohttp.TCPConnector:
    """Connections are kept for the next call of the same update: half the cost of a call is its connection.

    Not for long, so that we close them before uvicorn does (5 s), and not at all where the process may not open as many
    files as there may be replicas.
    """
    files, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if files < _FILES_TO_KEEP_CONNECTIONS:
        return aiohttp.TCPConnector(limit=0, force_close=True)
    return aiohttp.TCPConnector(limit=0, keepalive_timeout=_IDLE_SECONDS)


def _read(response: aiohttp.ClientResponse, data: bytes | None, form: type[A]) -> ReplicaAnswer[A]:
    status = response.status
    if status in {401, 403}:
        return Unauthorised(f"it does not take the token ({status}): compare the agent's token with services.yaml")
    if status == 429 or status >= 500:
        hint = " (it cannot reach the API server)" if status == 503 else ""
        return Unreachable(f"it answered {status}{hint}")
    if data is None:
        return Invalid("its answer is larger than the bound on answers")
    try:
        if status == 200:
            return Answered(form.model_validate_json(data))
        if status == 409:
            return Refused(Refusal.model_validate_json(data))
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False, include_context=False)[0]
        where = ".".join(str(part) for part in first["loc"])
        return Invalid(shorten(f"its answer is not of the form of {error.title}: {where} {first['msg']}", 200))
    if 300 <= status < 400:
        return Invalid(f"it answered {status}, a redirect: those are not followed; name the agent's own port")
    hint = {
        404: ": no agent answers at that port and path",
        422: ": it does not take the request's form; its version may not fit",
    }.get(status, "")
    return Invalid(f"it answered {status}{hint}")
