"""A stand-in for an agent's HTTP side, for faults that the real agent does not have.

It keeps the contract (`taskroll_agent.contracts.calls`) until a test gives one of its paths another handler.
`test_with_real_agents.py` runs the real agent.
"""

import json
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from aiohttp import web

from taskroll_agent.contracts import API_PREFIX, AbortAnswer, ActivateAnswer, Attestation, PrepareAnswer, content_digest

TOKEN = "the-token-of-the-agents"
STARTED_AT = datetime(2026, 1, 1, tzinfo=UTC)
OLD = {"TaskDefinition/encoder": "sha256:" + "0" * 64}
NEW = {"TaskDefinition/encoder": "sha256:" + "1" * 64}

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


@dataclass
class StandIn:
    """One replica. `address` is set once it runs."""

    host: str = "127.0.0.1"
    pod: str = "pod"
    pod_uid: str = ""
    epoch: int = 1
    definitions: dict[str, str] = field(default_factory=lambda: dict(OLD))
    started_at: datetime = STARTED_AT
    activated_at: datetime | None = STARTED_AT
    problem: str | None = None
    token: str = TOKEN
    handlers: dict[str, Handler] = field(default_factory=dict)
    """Path without prefix, such as ``/prepare`` → what answers instead."""
    calls: list[tuple[str, dict[str, Any]]] = field(default_factory=list)
    """Each call in order: its path, and its body or query."""
    address: str = ""
    _runner: web.AppRunner | None = None

    async def start(self, port: int = 0) -> "StandIn":
        app = web.Application()
        app.router.add_route("*", API_PREFIX + "/{call}", self._serve)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.0, handler_cancellation=True)
        await self._runner.setup()
        site = web.TCPSite(self._runner, self.host, port, reuse_address=True)
        await site.start()
        host, port = self._runner.addresses[0][:2]
        self.address = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        return self

    @property
    def port(self) -> int:
        return int(self.address.rpartition(":")[2])

    async def stop(self) -> None:
        runner, self._runner = self._runner, None
        if runner is not None:
            await runner.cleanup()

    def run(self, definitions: dict[str, str], epoch: int, activated_ms: float = 0.0) -> None:
        """Run that release from now on, activated so many milliseconds after the process started."""
        self.definitions = dict(definitions)
        self.epoch = epoch
        self.activated_at = self.started_at + timedelta(milliseconds=activated_ms)

    def called(self, path: str) -> int:
        return sum(call == path for call, _ in self.calls)

    def attestation(self, nonce: str | None, *, full: bool = False) -> Attestation:
        return Attestation(
            pod=self.pod,
            pod_uid=self.pod_uid,
            process="p1",
            started_at=self.started_at,
            epoch=self.epoch,
            content_digest=content_digest(self.definitions),
            definitions=self.definitions if full else None,
            activated_at=self.activated_at,
            problem=self.problem,
            nonce=nonce,
        )

    async def _serve(self, request: web.Request) -> web.StreamResponse:
        path = "/" + request.match_info["call"]
        body = await request.json() if request.can_read_body else dict(request.query)
        self.calls.append((path, body))
        if path in self.handlers:
            return await self.handlers[path](request)
        if request.headers.get("Authorization") != f"Bearer {self.token}":
            return web.json_response({"error": "a bearer token is required"}, status=401)
        return self.contract_answer(path, body)

    def contract_answer(self, path: str, body: dict[str, Any]) -> web.Response:
        match path:
            case "/prepare":
                wanted = {**self.definitions, **body["definitions"]}
                digest = content_digest({key: value for key, value in wanted.items() if value is not None})
                return answered(PrepareAnswer(request_id=body["request_id"], prepared=True, content_digest=digest))
            case "/activate":
                already = self.epoch == body["epoch"]
                self.epoch = body["epoch"]
                digest = body["content_digest"]
                return answered(ActivateAnswer(epoch=self.epoch, content_digest=digest, already_active=already))
            case "/abort":
                return answered(AbortAnswer(dropped=True))
            case _:
                return answered(self.attestation(body.get("nonce"), full=body.get("detail") == "full"))


def answered(model: Any, status: int = 200) -> web.Response:
    return web.Response(text=model.model_dump_json(), status=status, content_type="application/json")


def always(status: int, text: str = "", **headers: str) -> Handler:
    """A handler that gives that answer to everything."""

    async def handler(_: web.Request) -> web.StreamResponse:
        return web.Response(status=status, text=text or json.dumps({"error": f"status {status}"}), headers=headers)

    return handler
