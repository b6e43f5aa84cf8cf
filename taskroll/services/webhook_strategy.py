"""The strategy ``webhook``: an HTTP endpoint of the service's own that does what an agent does, in its own way.

`docs/services.md` has the contract; `webhook_conformance` checks an endpoint against it.
"""

import json
import secrets
from typing import Any, ClassVar, TypeVar

from pydantic import BaseModel

from taskroll_agent.contracts import (
    AbortAnswer,
    AbortRequest,
    ActivateAnswer,
    ActivateRequest,
    Attestation,
    DefinitionKey,
    PrepareAnswer,
    PrepareRequest,
    revision_name,
)

from .answers import Answered, Invalid, ReplicaAnswer, Unreachable
from .configuration import InvalidConfiguration, ServiceConfig
from .deadline import Deadline
from .reach import Reach
from .replica import Replica
from .strategy import Traits
from .strategy_options import WebhookOptions
from .targets import Answers, Targets
from .webhook_signature import signed_headers

A = TypeVar("A", bound=BaseModel)


class WebhookStrategy:
    """Makes the same signed call to every replica, side by side. See `strategy.Strategy` for the methods."""

    traits: ClassVar[Traits] = Traits(
        before_commit="each replica says itself whether it can load it",
        after_commit="each replica says itself what it runs",
    )

    def __init__(self, reach: Reach) -> None:
        self._calls = reach.calls

    async def prepare(self, targets: Targets, request: PrepareRequest) -> Answers[PrepareAnswer]:
        """``POST <path>/prepare`` to each, with the names of the revisions that hold the sources."""
        body = {"request_id": request.request_id, "definitions": revisions(request)}
        call_id = f"prepare.{request.request_id}"

        async def one(replica: Replica, deadline: Deadline) -> ReplicaAnswer[PrepareAnswer]:
            answer = await self._call(targets.service, replica, "prepare", call_id, body, PrepareAnswer, deadline)
            if isinstance(answer, Answered) and answer.value.request_id != request.request_id:
                return Invalid("it answered for another update than the one asked")
            return answer

        return await targets.each(one)

    async def invalidate(self, targets: Targets, request: ActivateRequest) -> Answers[ActivateAnswer]:
        """``POST <path>/invalidate`` to each."""
        body, call_id = request.model_dump(mode="json"), f"invalidate.{request.request_id}.{request.epoch}"
        return await targets.each(
            lambda r, d: self._call(targets.service, r, "invalidate", call_id, body, ActivateAnswer, d)
        )

    async def abort(self, targets: Targets, request: AbortRequest) -> Answers[AbortAnswer]:
        """``POST <path>/abort`` to each."""
        body, call_id = request.model_dump(mode="json"), f"abort.{request.request_id}"
        return await targets.each(lambda r, d: self._call(targets.service, r, "abort", call_id, body, AbortAnswer, d))

    async def attest(self, targets: Targets, *, full: bool = False, once: bool = False) -> Answers[Attestation]:
        """``POST <path>/attest`` to each, with a nonce of its own each."""

        async def one(replica: Replica, deadline: Deadline) -> ReplicaAnswer[Attestation]:
            nonce = secrets.token_hex(16)
            body: dict[str, Any] = {"nonce": nonce, "full": full}
            attempts = 1 if once else None
            answer = await self._call(
                targets.service, replica, "attest", f"attest.{nonce}", body, Attestation, deadline, attempts
            )
            if isinstance(answer, Answered) and answer.value.nonce != nonce:
                return Invalid("its attestation does not carry the nonce of the question: a cached or recorded answer")
            return answer

        return await targets.each(one)

    async def _call(
        self,
        service: ServiceConfig,
        replica: Replica,
        call: str,
        call_id: str,
        fields: dict[str, Any],
        form: type[A],
        deadline: Deadline,
        attempts: int | None = None,
    ) -> ReplicaAnswer[A]:
        if replica.obstacle is not None or replica.endpoint == "-":
            return Unreachable(replica.obstacle or "it has no address")
        if service.token is None:
            raise InvalidConfiguration(f"service {service.name}: token: is missing; strategy webhook signs with it")
        options, token = service.webhook or WebhookOptions(), service.token.read()
        url = f"{options.scheme}://{replica.endpoint}{options.path}/{call}"
        body = json.dumps({"namespace": replica.namespace, **fields}).encode()
        seconds = options.prepare_timeout if call == "prepare" else options.timeout
        return await self._calls.persist(
            lambda: self._calls.exchange(
                url, signed_headers(call_id, body, token), "POST", body, form, seconds, deadline
            ),
            deadline,
            attempts,
        )


def revisions(request: PrepareRequest) -> dict[str, dict[str, str] | None]:
    """Definition key → digest and name of the ``ControllerRevision`` that holds it; None where it is deleted."""
    return {
        key: None if digest is None else {"digest": digest, "revision": revision_name(DefinitionKey.parse(key), digest)}
        for key, digest in request.definitions.items()
    }
