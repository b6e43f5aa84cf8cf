"""The one client that both fronts use, CLI and endpoint: neither of them holds logic of its own."""

from collections.abc import AsyncGenerator, AsyncIterator, Callable, Collection, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

from taskroll.models.apps import AppSource
from taskroll.models.decision import AbortInput, DecisionInput, ReleaseInput, ResumeInput
from taskroll.models.policy import UpdatePolicy
from taskroll.models.provenance import GitProvenance
from taskroll.models.recovery import ReconcileReport
from taskroll.models.request import UpdateRequest
from taskroll.models.status import Decision
from taskroll.models.versions import VersionReport

from .adoption import read_adoption
from .cluster_connection import ClusterConnection
from .decisions import Decisions
from .doctor.commands import Commands
from .doctor.examination import examine
from .doctor.findings import Diagnosis
from .doctor.place import Place
from .observation import PATIENCE, Observations
from .offline_plan import OfflinePlan, make_offline_plan
from .package_request import DeployOptions, PackageRequest, read_package_request
from .reconciliation import reconcile_now
from .release_history import ReleaseLine, read_history
from .retention import Pruned, prune
from .settings import Settings
from .submission import Submission, Submissions
from .temporal_connection import TemporalConnection
from .update_diff import UpdateDiff, read_update_diff
from .update_list import UpdateLists, UpdatePage
from .update_view import UpdateView
from .validation import validated
from .worker_questions import ask_versions


class TaskrollClient:
    """Starts, watches and signals the updates of one namespace.

    Temporal and the cluster are connected to when they are first needed: `history` and `offline_plan` work without
    Temporal. Every method raises the errors of `taskroll.models.errors` and no others on purpose: `ServiceUnavailable`
    where Temporal, the workers or the API server are away, `RefusedByCluster` where the API server forbids it.
    """

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.temporal = TemporalConnection(settings)
        self.cluster = ClusterConnection(settings)
        self._submissions = Submissions(settings, self.temporal, self.cluster)
        self._observations = Observations(settings, self.temporal, self.cluster)
        self._decisions = Decisions(settings, self.temporal, self._observations)
        self._lists = UpdateLists(settings, self.temporal, self.cluster)

    async def close(self) -> None:
        """Close the connections."""
        await self.cluster.close()

    async def package_request(self, path: Path, options: DeployOptions) -> PackageRequest:
        """Make a request of a task package on disk. See `read_package_request`."""
        return await read_package_request(self.cluster, self.settings.namespace, path, options)

    async def adoption_request(self, names: Sequence[str], options: DeployOptions) -> UpdateRequest:
        """Make a request of what is live. See `read_adoption`."""
        return await read_adoption(self.cluster, self.settings.namespace, names, options)

    async def offline_plan(self, request: UpdateRequest, provided: Collection[str] = ()) -> OfflinePlan:
        """What a request would change, without writing anything. See `make_offline_plan`."""
        return await make_offline_plan(self.cluster, request, provided)

    async def submit(self, request: UpdateRequest) -> Submission:
        """Store a request and start its update; the same request again is the same update. See `Submissions.submit`."""
        return await self._submissions.submit(request)

    async def rollback(
        self,
        request_id: str,
        *,
        requested_by: str,
        to: int | None = None,
        reason: str = "",
        git: GitProvenance | None = None,
        apps: Sequence[AppSource] = (),
        policy: UpdatePolicy | None = None,
    ) -> Submission:
        """Go back to a release: an update whose aim is that release, with a new epoch of its own.

        Args:
            request_id: Of the new update. Under an id that was used for a rollback before, `to` may again be left out:
                it is the release that was chosen then.
            requested_by: Who asks.
            to: Epoch of the release; None takes the newest good one whose content differs from the current one.
            reason: One line.
            git: Origin, where there is one.
            apps: Sources of registered apps.
            policy: Defaults as for any update.

        Raises:
            UnknownRelease: naming those that may be chosen.
            RequestConflict: the request id is taken by another request.
        """
        if to is None:
            stored = await self._submissions.stored(request_id)
            to = stored.target_release if stored else None
        target = to if to is not None else await self._submissions.release_to_restore(None)
        return await self.submit(
            validated(
                "the rollback cannot be asked for",
                lambda: UpdateRequest(
                    request_id=request_id,
                    namespace=self.settings.namespace,
                    requested_by=requested_by,
                    reason=reason,
                    git=git,
                    target_release=target,
                    apps=list(apps),
                    policy=policy or UpdatePolicy(),
                ),
            )
        )

    async def status(self, request_id: str) -> UpdateView:
        """Look at an update once. See `Observations.view`."""
        return await self._observations.view(request_id)

    async def diff(self, request_id: str, *, full: bool = False) -> UpdateDiff:
        """What an update changes, with diffs of the sources. See `read_update_diff`."""
        return await read_update_diff(self.cluster, self.settings.namespace, request_id, full=full)

    def watch(
        self,
        request_id: str,
        *,
        patience: float = PATIENCE,
        on_silence: Callable[[str], None] = lambda reason: None,
    ) -> AsyncIterator[UpdateView]:
        """Look at an update at each change until it is over. See `Observations.watch`."""
        return self._observations.watch(request_id, patience=patience, on_silence=on_silence)

    async def wait(self, request_id: str, *, patience: float = PATIENCE) -> UpdateView:
        """Wait until an update has ended or needs an operator, as long as that takes; return the last view."""
        async for view in self.watch(request_id, patience=patience):
            if view.is_over:
                return view
        raise AssertionError("a watch ends with a view that is over")

    async def list_updates(self, limit: int = 50, cursor: str | None = None) -> UpdatePage:
        """The updates of the namespace, the latest first. See `UpdateLists.page`."""
        return await self._lists.page(limit, cursor)

    async def history(self, limit: int | None = None) -> list[ReleaseLine]:
        """The releases of the namespace, newest first. See `read_history`."""
        return await read_history(self.cluster, limit)

    async def versions(self) -> VersionReport:
        """Which version each replica runs. See `ask_versions`."""
        return await ask_versions(self.settings, self.temporal)

    async def prune(self, keep: int, *, older_than: float, dry_run: bool = False) -> Pruned:
        """Take away stored sources that nothing needs. See `starter.retention.prune`."""
        cluster = await self.cluster.connection()
        return await prune(cluster, self.settings.namespace, keep, older_than=older_than, dry_run=dry_run)

    async def examine(self, taskroll: Callable[[str], str]) -> Diagnosis:
        """What is inconsistent, and what mends it. See `starter.doctor.examination.examine`.

        Args:
            taskroll: Makes a command line of what stands after ``taskroll``.
        """
        return await examine(
            Place(
                settings=self.settings,
                cluster=await self.cluster.connection(),
                temporal=self.temporal,
                observations=self._observations,
                commands=Commands(self.settings, taskroll),
            )
        )

    async def decide(self, request_id: str, wish: DecisionInput) -> Decision:
        """Approve or reject a plan that waits for it. See `Decisions.decide`."""
        return await self._decisions.decide(request_id, wish)

    async def abort(self, request_id: str, wish: AbortInput) -> None:
        """Stop an update and have what it did taken back. See `Decisions.abort`."""
        await self._decisions.abort(request_id, wish)

    async def resume(self, request_id: str, wish: ResumeInput) -> None:
        """Let a parked update try again, or a dead one be finished. See `Decisions.resume`."""
        await self._decisions.resume(request_id, wish)

    async def release_fence(self, request_id: str, wish: ReleaseInput) -> None:
        """Take the fence of a parked or dead update down. See `Decisions.release_fence`."""
        await self._decisions.release_fence(request_id, wish)

    async def reconcile(self) -> ReconcileReport:
        """Have updates finished whose workflow is gone. See `reconcile_now`."""
        return await reconcile_now(self.settings, self.temporal)


@asynccontextmanager
async def open_client(settings: Settings) -> AsyncGenerator[TaskrollClient]:
    """A client that is closed at the end of the block."""
    client = TaskrollClient(settings)
    try:
        yield client
    finally:
        await client.close()
