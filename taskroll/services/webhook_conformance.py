"""Check a webhook against the contract in docs/services.md: ``python -m taskroll.services.webhook_conformance URL``.

URL is what stands before the name of a call, such as ``http://10.0.0.7:8000/taskroll``; the namespace that the calls
name may follow. The token is read from ``TASKROLL_WEBHOOK_TOKEN``. The checks ask for nothing that exists, so they
change nothing in a service that keeps the contract. The exit code is the number of checks that failed.
"""

import json
import os
import secrets
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, TypeVar

import httpx
from pydantic import BaseModel, SecretStr, ValidationError

from taskroll_agent.contracts import (
    AbortAnswer,
    Attestation,
    PrepareAnswer,
    PrepareRequest,
    Refusal,
    content_digest,
)

from .webhook_signature import signed_headers
from .webhook_strategy import revisions

F = TypeVar("F", bound=BaseModel)

ABSENT = "sha256:" + "0" * 64
"""Digest of a definition that no cluster has."""
TOO_OLD = 3600
"""Seconds; the contract lets an endpoint take calls that are up to 5 minutes old."""


class Broken(Exception):
    """What the endpoint did, in one sentence."""


@dataclass
class Endpoint:
    """The endpoint under test."""

    url: str
    token: SecretStr
    http: httpx.Client
    namespace: str = "default"

    def call(self, name: str, fields: dict[str, Any], *, call_id: str | None = None, age: int = 0) -> httpx.Response:
        body = json.dumps({"namespace": self.namespace, **fields}).encode()
        call_id = call_id or f"{name}.{secrets.token_hex(8)}"
        headers = signed_headers(call_id, body, self.token, int(time.time()) - age)
        return self.http.post(
            f"{self.url}/{name}", content=body, headers={**headers, "Content-Type": "application/json"}
        )

    def attest(self) -> Attestation:
        nonce = secrets.token_hex(16)
        attestation = _read(self.call("attest", {"nonce": nonce, "full": True}), Attestation)
        if attestation.nonce != nonce:
            raise Broken(f"it attests with nonce {attestation.nonce!r} instead of {nonce!r}")
        return attestation


def refuses_a_call_without_signature(endpoint: Endpoint) -> None:
    answer = endpoint.http.post(f"{endpoint.url}/attest", json={"namespace": endpoint.namespace, "nonce": "n"})
    _expect_status(answer, {401, 403})


def refuses_a_wrong_signature(endpoint: Endpoint) -> None:
    other = Endpoint(endpoint.url, SecretStr(secrets.token_hex(16)), endpoint.http, endpoint.namespace)
    _expect_status(other.call("attest", {"nonce": "n", "full": False}), {401, 403})


def refuses_an_old_call(endpoint: Endpoint) -> None:
    _expect_status(endpoint.call("attest", {"nonce": "n", "full": False}, age=TOO_OLD), {401, 403})


def attests_with_the_nonce_of_each_question(endpoint: Endpoint) -> None:
    first, second = endpoint.attest(), endpoint.attest()
    if first.process != second.process:
        raise Broken(f"its process is {first.process!r}, then {second.process!r}: it names one life of the process")


def attests_a_content_digest_that_fits_its_definitions(endpoint: Endpoint) -> None:
    attestation = endpoint.attest()
    if attestation.definitions is None:
        raise Broken("asked in full, it attests no definitions")
    if content_digest(attestation.definitions) != attestation.content_digest:
        raise Broken(f"content_digest {attestation.content_digest} does not fit its definitions")


def does_not_prepare_what_it_cannot_load(endpoint: Endpoint) -> None:
    request = PrepareRequest(request_id="conformance", definitions={"TaskDefinition/conformance": ABSENT})
    fields = {"request_id": request.request_id, "definitions": revisions(request)}
    answer = endpoint.call("prepare", fields)
    if answer.status_code == 409:
        _refusal(answer, "not_loadable")
        return
    prepared = _read(answer, PrepareAnswer)
    if prepared.request_id != "conformance":
        raise Broken(f"it answers for update {prepared.request_id!r} instead of 'conformance'")
    if prepared.prepared or not prepared.problems:
        raise Broken("a revision that does not exist is prepared, or not prepared without a problem that says why")


def refuses_a_release_that_it_cannot_load_and_stays_as_it_is(endpoint: Endpoint) -> None:
    before = endpoint.attest()
    _refusal(endpoint.call("invalidate", _release(before.epoch + 1)), "not_loadable")
    _expect_same(before, endpoint.attest())


def refuses_a_lower_epoch(endpoint: Endpoint) -> None:
    before = endpoint.attest()
    if before.epoch < 2:
        return  # the contract has no lower epoch to ask for
    _refusal(endpoint.call("invalidate", _release(before.epoch - 1)), "stale_epoch")
    _expect_same(before, endpoint.attest())


def aborts_what_it_never_prepared(endpoint: Endpoint) -> None:
    if _read(endpoint.call("abort", {"request_id": "never-asked-for"}), AbortAnswer).dropped:
        raise Broken("it says that it dropped an update that was never prepared")


def answers_a_repeated_call_alike(endpoint: Endpoint) -> None:
    fields, call_id = {"request_id": "conformance"}, "abort.conformance"
    first, second = (_read(endpoint.call("abort", fields, call_id=call_id), AbortAnswer) for _ in range(2))
    if second.dropped and not first.dropped:
        raise Broken("the second of two equal calls did what the first had not")


CHECKS: tuple[Callable[[Endpoint], None], ...] = (
    refuses_a_call_without_signature,
    refuses_a_wrong_signature,
    refuses_an_old_call,
    attests_with_the_nonce_of_each_question,
    attests_a_content_digest_that_fits_its_definitions,
    does_not_prepare_what_it_cannot_load,
    refuses_a_release_that_it_cannot_load_and_stays_as_it_is,
    refuses_a_lower_epoch,
    aborts_what_it_never_prepared,
    answers_a_repeated_call_alike,
)


def findings(url: str, token: SecretStr, namespace: str = "default") -> Iterator[tuple[str, str | None]]:
    """Run each check; its name, and what the endpoint did instead, None where it keeps the contract."""
    with httpx.Client(timeout=75, follow_redirects=False, trust_env=False) as http:
        endpoint = Endpoint(url.rstrip("/"), token, http, namespace)
        for check in CHECKS:
            try:
                check(endpoint)
            except (Broken, httpx.HTTPError) as error:
                yield check.__name__, str(error) or type(error).__name__
            else:
                yield check.__name__, None


def _release(epoch: int) -> dict[str, Any]:
    release = f"taskroll-release-{epoch:06d}-conformance"
    return {"request_id": "conformance", "epoch": epoch, "release": release, "content_digest": ABSENT}


def _read(answer: httpx.Response, form: type[F]) -> F:
    _expect_status(answer, {200})
    try:
        return form.model_validate_json(answer.content)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False, include_context=False)[0]
        where = ".".join(str(part) for part in first["loc"])
        raise Broken(f"its answer is not of the form of {form.__name__}: {where} {first['msg']}") from None


def _refusal(answer: httpx.Response, reason: str) -> None:
    _expect_status(answer, {409})
    try:
        refusal = Refusal.model_validate_json(answer.content)
    except ValidationError:
        raise Broken("its 409 carries no refusal: reason, message, epoch") from None
    if refusal.reason != reason:
        raise Broken(f"it refuses with reason {refusal.reason} instead of {reason}")


def _expect_status(answer: httpx.Response, wanted: set[int]) -> None:
    if answer.status_code not in wanted:
        raise Broken(f"it answered {answer.status_code} instead of {' or '.join(str(one) for one in sorted(wanted))}")


def _expect_same(before: Attestation, after: Attestation) -> None:
    if (before.epoch, before.content_digest) != (after.epoch, after.content_digest):
        raise Broken(f"it runs epoch {after.epoch} after a call that it refused, {before.epoch} before")


def main() -> None:
    """Run all checks against the URL of the command line, a line each on stdout."""
    token = os.environ.get("TASKROLL_WEBHOOK_TOKEN", "")
    if len(sys.argv) not in (2, 3) or not token:
        sys.exit("usage: TASKROLL_WEBHOOK_TOKEN=… python -m taskroll.services.webhook_conformance URL [NAMESPACE]")
    failed = 0
    for name, finding in findings(sys.argv[1], SecretStr(token), *sys.argv[2:]):
        failed += finding is not None
        sys.stdout.write(f"{'FAILED' if finding else 'ok':6} {name}{': ' + finding if finding else ''}\n")
    sys.exit(failed)


if __name__ == "__main__":
    main()
