"""How an update gets started: sources and request into the cluster, then the workflow. Safe to repeat at every point.

The order is what makes it so. Revisions are named by their content, so writing them twice is writing them once. The
request is an immutable object named after the request id: whoever writes it first decides what the id means. The
workflow's id holds the request id as well. A client that dies anywhere in between sends the same request again.
"""

import logging
from collections.abc import Sequence
from dataclasses import dataclass

from temporalio.client import Client
from temporalio.common import (
    SearchAttributePair,
    TypedSearchAttributes,
    WorkflowIDConflictPolicy,
    WorkflowIDReusePolicy,
)
from temporalio.exceptions import WorkflowAlreadyStartedError
from temporalio.service import RPCError, RPCStatusCode

from taskroll.cluster.managed_metadata import check_reserved
from taskroll.models.errors import InvalidRequest, RequestConflict, ServiceUnavailable, UnknownRelease
from taskroll.models.names import workflow_id
from taskroll.models.recorded_status import status_of_record
from taskroll.models.request import SubmittedRequest, UpdateInput, UpdateRequest
from taskroll.models.status import UpdateStatus
from taskroll.tasklib.definition_checks import name_problems
from taskroll.tasklib.source_text import text_of
from taskroll_agent.contracts import DefinitionContent, canonical_json
from workflows.search_attributes import COMMIT, DEFINITIONS, NAMESPACE, PHASE, REQUESTED_BY

from .cluster_connection import ClusterConnection
from .rollback import Restorable, rollback_target
from .settings import Settings
from .temporal_connection import RPC_TIMEOUT, TemporalConnection

MAX_DEFINITION_BYTES = 1_000_000
"""Of one definition as JSON. The API server takes objects up to 1.5 MiB, and a revision wraps the definition."""
SHOWN_DEFINITIONS = 50
"""How many names the web UI shows: the search attribute is for finding an update, not for listing it."""
MAX_ATTRIBUTE_BYTES = 1_800
"""Of the names in the search attribute; Temporal refuses a value over 2 KiB."""

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Submission:
    """What became of a request."""

    request_id: str
    namespace: str
    workflow_id: str
    digest: str
    """Of the request: what it asks for, not who asks."""
    is_new: bool
    """False where the same request had been submitted before."""
    ended: UpdateStatus | None = None
    """How it ended, where it had ended before this submission; nothing was started then."""

    def document(self) -> dict[str, str | bool | None]:
        """As JSON shows it."""
        return {
            "request_id": self.request_id,
            "namespace": self.namespace,
            "workflow_id": self.workflow_id,
            "digest": self.digest,
            "is_new": self.is_new,
            "outcome": self.ended.outcome if self.ended else None,
        }


class Submissions:
    """Submits requests to one namespace."""

    def __init__(self, settings: Settings, temporal: TemporalConnection, cluster: ClusterConnection) -> None:
        self._settings = settings
        self._temporal = temporal
        self._cluster = cluster

    async def submit(self, request: UpdateRequest) -> Submission:
        """Store the request and start its update, unless that has happened.

        Raises:
            InvalidRequest: before anything is written.
            UnknownRelease: the release to go back to does not exist or was taken back; before anything is written.
            RequestConflict: the request id is taken by a request of other content; nothing is started.
            ServiceUnavailable: Temporal or the API server is away; send the same request again.
        """
        self._check(request)
        wish = request.submitted()
        known = await self._cluster.request(request.request_id)
        if known is not None and known.digest() != wish.digest():
            raise RequestConflict(request.request_id, known.digest(), wish.digest())
        if known is not None:
            stored = await self._cluster.record(request.request_id)
            if stored is not None and stored.sealed:
                return self._submission(known, is_new=False, ended=status_of_record(stored.record))
        elif request.target_release is not None:
            await self.release_to_restore(request.target_release)
        # Before anything is written: a request whose update cannot be started should not take its id.
        temporal = await self._temporal.client()
        await self._cluster.write_missing_revisions(request)
        await self._cluster.write_app_sources(request)
        created = await self._cluster.submit_request(wish)
        # Who asked first stays the requester, also where a second client is the one whose start gets through.
        first = wish if created else (await self._cluster.request(request.request_id) or wish)
        started = await self._start(temporal, first)
        return self._submission(first, is_new=created and started)

    async def release_to_restore(self, epoch: int | None) -> int:
        """The release that a rollback goes back to: the one asked for, or the last good one of other content.

        Raises:
            UnknownRelease: naming those that may be chosen; or its sources were pruned.
        """
        known = await self.restorable()
        target = rollback_target(known, epoch)
        release = next(each for each in known.releases if each.epoch == target)
        if pruned := await self._cluster.missing_revisions(release.digests()):
            raise UnknownRelease(
                f"release {target} cannot be brought back: the sources of {', '.join(pruned[:5])} are no longer "
                "stored, pruned or lost; deploy them from where they come from, or choose a newer release"
            )
        return target

    async def restorable(self) -> Restorable:
        """The releases of the namespace, and which of them a rollback may go back to."""
        return Restorable.of(await self._cluster.releases())

    async def stored(self, request_id: str) -> SubmittedRequest | None:
        """What was submitted under a request id; None where nothing was."""
        return await self._cluster.request(request_id)

    def _check(self, request: UpdateRequest) -> None:
        if request.namespace != self._settings.namespace:
            raise InvalidRequest(
                f"namespace: the request is for {request.namespace!r}, this client for {self._settings.namespace!r}"
            )
        findings = [finding for content in request.definitions for finding in unfit(content)]
        if findings:
            raise InvalidRequest(f"definitions: {len(findings)} findings", details=findings)

    async def _start(self, temporal: Client, request: SubmittedRequest) -> bool:
        """Start the workflow; False where it had been started before."""
        commit = request.git.commit if request.git else None
        try:
            with self._temporal.errors("start the update"):
                await temporal.start_workflow(
                    "TaskUpdate",
                    UpdateInput(
                        namespace=request.namespace,
                        request_id=request.request_id,
                        request_digest=request.digest(),
                        requested_by=request.requested_by,
                        reason=request.reason,
                        git_commit=commit,
                        policy=request.policy,
                    ),
                    id=workflow_id(request.namespace, request.request_id),
                    task_queue=self._settings.task_queue,
                    id_conflict_policy=WorkflowIDConflictPolicy.FAIL,
                    id_reuse_policy=WorkflowIDReusePolicy.REJECT_DUPLICATE,
                    search_attributes=_search_attributes(request),
                    static_summary=_summary(request),
                    static_details=_details(request),
                    rpc_timeout=RPC_TIMEOUT,
                )
        except WorkflowAlreadyStartedError:
            return False
        except RPCError as error:
            if error.status == RPCStatusCode.INVALID_ARGUMENT and "search attribute" in error.message.lower():
                raise ServiceUnavailable(
                    f"Temporal at {self._temporal.address} does not know taskroll's search attributes: {error.message}"
                    "; register them once: temporal operator search-attribute create "
                    "--name TaskrollPhase --type Keyword "
                    "--name TaskrollDefinitions --type KeywordList --name TaskrollRequestedBy --type Keyword "
                    "--name TaskrollCommit --type Keyword --name TaskrollNamespace --type Keyword"
                ) from error
            raise ServiceUnavailable(f"Temporal did not start the update: {error.message}") from error
        return True

    def _submission(self, request: SubmittedRequest, *, is_new: bool, ended: UpdateStatus | None = None) -> Submission:
        return Submission(
            request_id=request.request_id,
            namespace=request.namespace,
            workflow_id=workflow_id(request.namespace, request.request_id),
            digest=request.digest(),
            is_new=is_new,
            ended=ended,
        )


def unfit(content: DefinitionContent) -> list[str]:
    """Why a definition cannot be stored or deployed, as far as it shows without parsing its source; a line each.

    What the source says is for the plan to check, together with all that it imports.
    """
    size = len(canonical_json(content.model_dump(mode="json")))
    if size > MAX_DEFINITION_BYTES:
        limit = f"over the limit of {MAX_DEFINITION_BYTES:,}"
        return [f"{content.key}: {size:,} bytes with its source, {limit}; split the module"]
    _, found = text_of(content)
    findings = [str(problem) for problem in (*name_problems(content), *found) if problem.severity == "error"]
    try:
        check_reserved(content)
    except InvalidRequest as error:
        findings.append(error.message)
    return findings


def _search_attributes(request: SubmittedRequest) -> TypedSearchAttributes:
    pairs: list[SearchAttributePair[str] | SearchAttributePair[Sequence[str]]] = [
        SearchAttributePair(PHASE, "planning"),
        SearchAttributePair(REQUESTED_BY, request.requested_by),
        SearchAttributePair(NAMESPACE, request.namespace),
    ]
    names = _searchable([key.partition("/")[2] for key in [*request.definitions, *request.delete]])
    if names:
        pairs.append(SearchAttributePair(DEFINITIONS, names))
    if request.git:
        pairs.append(SearchAttributePair(COMMIT, request.git.commit))
    return TypedSearchAttributes(pairs)


def _searchable(names: list[str]) -> list[str]:
    """As many of the names as the search attribute can hold."""
    taken: list[str] = []
    size = 0
    for name in names[:SHOWN_DEFINITIONS]:
        size += len(name) + 3
        if size > MAX_ATTRIBUTE_BYTES:
            break
        taken.append(name)
    return taken


def _aim(request: SubmittedRequest) -> str:
    if request.target_release is not None:
        return f"back to release {request.target_release}"
    if request.adopt:
        return f"adopt {len(request.definitions) + len(request.delete)} definitions as they are"
    parts = [f"{len(request.definitions)} definitions"] if request.definitions else []
    parts += [f"{len(request.delete)} deletions"] if request.delete else []
    return ", ".join(parts)


def _summary(request: SubmittedRequest) -> str:
    """One line for the web UI's list; Temporal keeps it short itself, at 400 bytes."""
    text = f"{request.reason} · {_aim(request)}" if request.reason else _aim(request)
    return text.encode()[:380].decode(errors="ignore")


def _details(request: SubmittedRequest) -> str:
    """Markdown for the web UI: who, why, from which commit, and which definitions."""
    lines = [
        f"**Requested by** {_plain(request.requested_by)}",
        f"**Reason** {_plain(request.reason) or '(none given)'}",
        f"**Aim** {_aim(request)} in namespace `{request.namespace}`",
    ]
    if request.git:
        dirty = " with uncommitted changes" if request.git.dirty else ""
        subject = f": {_plain(request.git.subject)}" if request.git.subject else ""
        lines.append(f"**Commit** `{request.git.commit}`{dirty}{subject}")
    drain = request.policy.drain + (", apps restored" if request.policy.restore_apps else "")
    lines.append(f"**Policy** drain {drain}, approval {request.policy.approval}")
    names = [f"- `{key}`" for key in request.definitions] + [f"- `{key}` (delete)" for key in request.delete]
    shown = names[:SHOWN_DEFINITIONS]
    if len(names) > len(shown):
        shown.append(f"- and {len(names) - len(shown)} more")
    return "\n\n".join(lines) + "\n\n" + "\n".join(shown)


def _plain(text: str | None) -> str:
    """A person's words inside Markdown: shown as they are, never as markup."""
    return "".join(f"\\{char}" if char in "\\`*_[]<>#|" else char for char in text or "")
