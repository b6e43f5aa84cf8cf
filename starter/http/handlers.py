"""What each route does: reads the request, asks the client, forms the answer. No logic of its own."""

from typing import Annotated

from fastapi import Body, Depends, Header, Path, Query, Response
from pydantic import BeforeValidator, StringConstraints, TypeAdapter
from starlette.requests import Request

from starter.client import TaskrollClient
from starter.package_request import DeployOptions
from starter.retention import Pruned
from starter.submission import Submission
from starter.update_diff import UpdateDiff
from starter.update_list import MAX_LIMIT, UpdatePage
from starter.update_view import UpdateView
from starter.validation import validated
from taskroll.models.decision import AbortInput, DecisionInput, ReleaseInput, ResumeInput
from taskroll.models.names import REQUEST_ID_PATTERN, Identity
from taskroll.models.status import Decision

from .answers import DiagnosisAnswer, Noted, ReleaseList, SubmissionAnswer
from .bodies import AdoptionBody, DecisionBody, PruneBody, ReleaseBody, RollbackBody, UpdateBody, WordBody
from .guarded_route import client_of

ANONYMOUS = "http"
"""Who asks, where nobody says so."""
UPDATE_ROUTE = "taskroll_get_update"
"""Name of the route that `Location` points to."""

_IDENTITY: TypeAdapter[str] = TypeAdapter(Identity)

Client = Annotated[TaskrollClient, Depends(client_of)]
IdempotencyKey = Annotated[
    str,
    # The draft of the header writes its value as a quoted string; clients send it with quotes and without.
    BeforeValidator(lambda value: value[1:-1] if isinstance(value, str) and value[:1] == value[-1:] == '"' else value),
    StringConstraints(pattern=REQUEST_ID_PATTERN),
    Header(
        alias="Idempotency-Key",
        description="Your own id of the update, its request id: lower-case letters, digits and dashes, at most 63. "
        "The same key with the same body is the same update, however often it is sent.",
        examples=["echo-upper-case-2026-04-01"],
    ),
]
RequestedBy = Annotated[
    str | None,
    Header(alias="X-Requested-By", description="Who asks, where the body does not say so. Nobody verifies it."),
]
UpdateId = Annotated[str, Path(description="The update's request id.", examples=["echo-upper-case-2026-04-01"])]


async def create_update(
    request: Request,
    response: Response,
    client: Client,
    key: IdempotencyKey,
    body: UpdateBody,
    by: RequestedBy = None,
) -> SubmissionAnswer:
    """Start an update; the same request again is the same update. See `Location` for its status."""
    requested_by = _requester(body.requested_by, by)
    wish = validated("body", lambda: body.request(client.settings.namespace, key, requested_by), at="body")
    return _submitted(request, response, await client.submit(wish))


async def create_rollback(
    request: Request,
    response: Response,
    client: Client,
    key: IdempotencyKey,
    body: RollbackBody,
    by: RequestedBy = None,
) -> SubmissionAnswer:
    """Go back to a release. That is an update too, with a status of its own under `Location`."""
    submission = await client.rollback(
        key,
        requested_by=_requester(body.requested_by, by),
        to=body.to,
        reason=body.reason,
        apps=body.apps,
        policy=body.policy,
    )
    return _submitted(request, response, submission)


async def create_adoption(
    request: Request,
    response: Response,
    client: Client,
    key: IdempotencyKey,
    body: AdoptionBody,
    by: RequestedBy = None,
) -> SubmissionAnswer:
    """Take definitions into the release as they are live. An update too, that writes no custom resource."""
    options = DeployOptions(
        request_id=key, requested_by=_requester(body.requested_by, by), reason=body.reason, policy=body.policy
    )
    wish = await client.adoption_request(body.definitions, options)
    return _submitted(request, response, await client.submit(wish))


async def list_updates(
    client: Client,
    limit: Annotated[int, Query(ge=1, le=MAX_LIMIT)] = 50,
    cursor: Annotated[str | None, Query(description="`next_cursor` of the page before.")] = None,
) -> UpdatePage:
    """Updates, the latest first."""
    return await client.list_updates(limit, cursor)


async def get_update(client: Client, request_id: UpdateId) -> UpdateView:
    """Status and timeline of an update, also after its workflow's history is gone."""
    return await client.status(request_id)


async def get_diff(
    client: Client,
    request_id: UpdateId,
    full: Annotated[bool, Query(description="Whole diffs; by default the first 2,000 lines of each module's.")] = False,
) -> UpdateDiff:
    """What an update changes: its plan, and a unified diff of each module. To look at before `approve`."""
    return await client.diff(request_id, full=full)


async def approve(
    client: Client,
    request_id: UpdateId,
    body: Annotated[DecisionBody | None, Body()] = None,
    by: RequestedBy = None,
) -> Decision:
    """Approve the plan of an update that waits for it."""
    return await client.decide(request_id, _wish("approved", body or DecisionBody(), by))


async def reject(
    client: Client,
    request_id: UpdateId,
    body: Annotated[DecisionBody | None, Body()] = None,
    by: RequestedBy = None,
) -> Decision:
    """Reject the plan of an update that waits for approval; it ends without a change."""
    return await client.decide(request_id, _wish("rejected", body or DecisionBody(), by))


async def abort(
    client: Client, request_id: UpdateId, body: Annotated[WordBody | None, Body()] = None, by: RequestedBy = None
) -> Noted:
    """Stop an update and have what it did taken back."""
    said = body or WordBody()
    await client.abort(request_id, AbortInput(by=_requester(said.by, by), reason=said.reason))
    return Noted(request_id=request_id, noted="abort")


async def resume(
    client: Client, request_id: UpdateId, body: Annotated[WordBody | None, Body()] = None, by: RequestedBy = None
) -> Noted:
    """Let an update that needs an operator try again to finish."""
    said = body or WordBody()
    await client.resume(request_id, ResumeInput(by=_requester(said.by, by), reason=said.reason))
    return Noted(request_id=request_id, noted="resume")


async def release_fence(client: Client, request_id: UpdateId, body: ReleaseBody, by: RequestedBy = None) -> Noted:
    """Take the fence of an update that is parked, or whose workflow is gone, down; nothing is taken back."""
    await client.release_fence(request_id, ReleaseInput(by=_requester(body.by, by), reason=body.reason))
    return Noted(request_id=request_id, noted="release-fence")


async def list_releases(
    client: Client,
    limit: Annotated[int | None, Query(ge=1, description="How many; all of them by default.")] = None,
) -> ReleaseList:
    """Releases, newest first: who put them in place, why, from which commit, and how that ended."""
    return ReleaseList(releases=await client.history(limit))


async def examine(client: Client) -> DiagnosisAnswer:
    """Look at everything that an update relies on; change nothing. The commands are meant for a shell at its place."""
    namespace = client.settings.namespace
    found = await client.examine(lambda command: f"taskroll {command} -n {namespace}")
    return DiagnosisAnswer(namespace=found.namespace, findings=found.findings, is_healthy=found.is_healthy)


async def prune(client: Client, body: PruneBody) -> Pruned:
    """Delete stored sources and plans that no kept release, no custom resource and no open update needs."""
    return await client.prune(body.keep, older_than=body.older_than, dry_run=body.dry_run)


def _submitted(request: Request, response: Response, submission: Submission) -> SubmissionAnswer:
    where = request.url_for(UPDATE_ROUTE, request_id=submission.request_id)
    response.headers["Location"] = where.path
    if submission.ended is not None:
        response.status_code = 200
    return SubmissionAnswer.model_validate(submission.document())


def _wish(decision: str, body: DecisionBody, header: str | None) -> DecisionInput:
    return DecisionInput.model_validate(
        {
            "decision": decision,
            "by": _requester(body.by, header),
            "reason": body.reason,
            "plan_digest": body.plan_digest,
        }
    )


def _requester(said: Identity | None, header: str | None) -> str:
    """The body's word, else the header's, else «http». Raises InvalidRequest for a header that is no name."""
    if said is not None:
        return said
    if header is None:
        return ANONYMOUS
    return validated("header X-Requested-By", lambda: _IDENTITY.validate_python(header), at="header.X-Requested-By")
