"""A reference receiver for strategy ``webhook``: keeps the contract of docs/services.md, and nothing else.

It reads sources from the ``ControllerRevision`` objects that a call names, compiles them in prepare, and serves from
what it was told to make current. What a real service does with the sources takes the place of `compile`.

To start it: ``web.run_app(Receiver(token, read).app(), port=8000)``, where `read` asks the API server.

Every call may come twice with the same ``webhook-id``: doing it again changes nothing here, so no id is remembered.
"""

import base64
import hashlib
import hmac
import json
import secrets
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from types import CodeType
from typing import Any

from aiohttp import web

from taskroll_agent.contracts import DefinitionKey, content_digest, revision_name

MAX_AGE = 300
"""Seconds that a call may be old: a recorded one must not be played back."""

Read = Callable[[str, str], Awaitable[dict[str, Any]]]
"""The ``data`` of a ControllerRevision, by namespace and name. Raises LookupError where there is none."""


class Refused(Exception):
    """A 409: `args` are reason and message."""


@dataclass
class Loaded:
    """One set of definitions, by key: their digests, and what was made of the sources."""

    digests: dict[str, str] = field(default_factory=dict[str, str])
    code: dict[str, CodeType] = field(default_factory=dict[str, CodeType])


@dataclass
class Receiver:
    """One process of the service."""

    token: str
    read: Read
    pod: str = ""
    pod_uid: str = ""
    process: str = field(default_factory=lambda: secrets.token_hex(8))
    started_at: str = field(default_factory=lambda: datetime.now(UTC).isoformat())
    epoch: int = 0
    release: str | None = None
    current: Loaded = field(default_factory=Loaded)
    prepared: dict[str, Loaded] = field(default_factory=dict[str, Loaded])

    def app(self, path: str = "/taskroll") -> web.Application:
        app = web.Application()
        app.router.add_post(path + "/{call}", self.serve)
        return app

    async def serve(self, request: web.Request) -> web.Response:
        body = await request.read()
        if not self._is_signed(request, body):
            return web.json_response({"error": "the signature is missing, wrong or old"}, status=401)
        calls = {"prepare": self.prepare, "invalidate": self.invalidate, "abort": self.abort, "attest": self.attest}
        call = calls.get(request.match_info["call"])
        if call is None:
            return web.json_response({"error": "no such call"}, status=404)
        try:
            return web.json_response(await call(json.loads(body)))
        except Refused as refusal:
            reason, message = refusal.args
            return web.json_response({"reason": reason, "message": message, "epoch": self.epoch}, status=409)
        except OSError as error:
            return web.json_response({"error": f"the API server is out of reach: {error}"}, status=503)

    async def prepare(self, call: dict[str, Any]) -> dict[str, Any]:
        """Load beside what is current. Doing it again for the same update gives the same result."""
        loaded = Loaded(dict(self.current.digests), dict(self.current.code))
        problems: list[dict[str, str]] = []
        for key, wanted in call["definitions"].items():
            if wanted is None:
                loaded.digests.pop(key, None)
                loaded.code.pop(key, None)
                continue
            try:
                loaded.code[key] = await self._load(call["namespace"], wanted["revision"])
                loaded.digests[key] = wanted["digest"]
            except (LookupError, SyntaxError) as error:
                problem = {"definition": key, "module": "", "error": type(error).__name__, "message": str(error)}
                problems.append(problem)
        if not problems:
            self.prepared[call["request_id"]] = loaded
        return {
            "request_id": call["request_id"],
            "prepared": not problems,
            "content_digest": None if problems else content_digest(loaded.digests),
            "problems": problems,
        }

    async def invalidate(self, call: dict[str, Any]) -> dict[str, Any]:
        """Make a release current: at once where it was prepared, else from its ControllerRevision."""
        if call["epoch"] < self.epoch:
            raise Refused("stale_epoch", f"this process runs the later epoch {self.epoch}")
        already = call["epoch"] == self.epoch and call["release"] == self.release
        if not already:
            loaded = self.prepared.get(call["request_id"])
            if loaded is None or content_digest(loaded.digests) != call["content_digest"]:
                loaded = await self._load_release(call["namespace"], call["release"])
            if content_digest(loaded.digests) != call["content_digest"]:
                raise Refused("not_loadable", f"{call['release']} has other content than the call says")
            self.current, self.epoch, self.release = loaded, call["epoch"], call["release"]
            self.prepared.pop(call["request_id"], None)
        return {
            "epoch": self.epoch,
            "content_digest": content_digest(self.current.digests),
            "already_active": already,
        }

    async def abort(self, call: dict[str, Any]) -> dict[str, Any]:
        return {"dropped": self.prepared.pop(call["request_id"], None) is not None}

    async def attest(self, call: dict[str, Any]) -> dict[str, Any]:
        """Say what is live. A real service reads the digests from the objects that it serves from."""
        return {
            "pod": self.pod,
            "pod_uid": self.pod_uid,
            "process": self.process,
            "started_at": self.started_at,
            "epoch": self.epoch,
            "release": self.release,
            "content_digest": content_digest(self.current.digests),
            "definitions": self.current.digests if call["full"] else None,
            "nonce": call["nonce"],
        }

    async def _load(self, namespace: str, revision: str) -> CodeType:
        content = await self.read(namespace, revision)
        return compile(base64.b64decode(content["spec"]["sourceCode"]), content["spec"]["moduleName"], "exec")

    async def _load_release(self, namespace: str, release: str) -> Loaded:
        loaded = Loaded()
        try:
            for key, entry in (await self.read(namespace, release))["definitions"].items():
                revision = revision_name(DefinitionKey.parse(key), entry["digest"])
                loaded.code[key] = await self._load(namespace, revision)
                loaded.digests[key] = entry["digest"]
        except (LookupError, SyntaxError) as error:
            raise Refused("not_loadable", f"{release}: {error}") from None
        return loaded

    def _is_signed(self, request: web.Request, body: bytes) -> bool:
        call_id, timestamp = request.headers.get("webhook-id", ""), request.headers.get("webhook-timestamp", "")
        if not timestamp.isdecimal() or abs(time.time() - int(timestamp)) > MAX_AGE:
            return False
        signed = f"{call_id}.{timestamp}.".encode() + body
        digest = hmac.new(self.token.encode(), signed, hashlib.sha256).digest()
        wanted = f"v1,{base64.b64encode(digest).decode()}"
        return hmac.compare_digest(wanted, request.headers.get("webhook-signature", ""))
