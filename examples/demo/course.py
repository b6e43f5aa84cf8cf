"""What the chapters share: commands, looks at an update, and what is written down of each for the report."""

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from examples.load_record import LoadRecord
from starter.update_view import UpdateView
from taskroll.models.names import workflow_id

from .command_line import CommandLine
from .custom_resources import CustomResources
from .expectation import ExpectationNotMet, expect
from .running_load import RunningLoad
from .running_platform import NAMESPACE, SERVICES, Platform
from .telling import Telling

PATIENCE = 120.0
"""Seconds to wait for anything that the demo expects to happen."""
ANSWERS = 5
"""From each service: how many answers are looked at after an update."""


@dataclass(frozen=True)
class EndedUpdate:
    """What the demo saw of an update."""

    view: UpdateView
    epoch: int
    replicas: int
    history_events: int
    old: int | None
    new: int | None
    """Versions of the library before and after; None where the services stayed on theirs."""
    restored_byte_for_byte: bool | None


@dataclass
class Course:
    """The demo under way."""

    telling: Telling
    platform: Platform
    taskroll: CommandLine
    resources: CustomResources
    rate: float
    running_load: RunningLoad | None = None
    ended: list[EndedUpdate] = field(default_factory=list[EndedUpdate])
    releases: dict[int, dict[str, bytes]] = field(default_factory=dict[int, dict[str, bytes]])
    """The custom resources as each completed release left them."""

    @property
    def load(self) -> RunningLoad:
        assert self.running_load is not None
        return self.running_load

    async def until(self, request_id: str, condition: Callable[[UpdateView], bool], promise: str) -> UpdateView:
        """Watch an update until the condition holds.

        Raises:
            ExpectationNotMet: where the update is over before, or it takes too long.
        """
        try:
            async with asyncio.timeout(PATIENCE):
                async for view in self.platform.client.watch(request_id):
                    if condition(view):
                        return view
        except TimeoutError:
            raise ExpectationNotMet(f"expected within {PATIENCE:g} s: {promise}") from None
        raise ExpectationNotMet(f"expected before the end of update {request_id}: {promise}")

    async def conclude(
        self,
        request_id: str,
        *,
        outcome: str,
        old: int | None = None,
        new: int | None = None,
        restored_byte_for_byte: bool | None = None,
    ) -> EndedUpdate:
        """Check how an update ended against what replicas attest, and keep it for the report.

        Args:
            request_id: Of the update.
            outcome: What is expected.
            old: Version of the library before, where it changed.
            new: And after.
            restored_byte_for_byte: What the demo found, for an update that was taken back.
        """
        view = await self.platform.client.status(request_id)
        status = view.status
        expect(
            status.outcome == outcome, f"update {request_id} ends as {outcome}", f"{status.outcome}: {status.message}"
        )
        report = await self.platform.client.versions()
        total = sum(SERVICES.values())
        attesting = [replica for replica in report.replicas if replica.content_digest == report.content_digest]
        expect(len(attesting) == total, f"all {total} replicas attest release {report.epoch}", report.replicas)
        temporal = await self.platform.client.temporal.client()
        described = await temporal.get_workflow_handle(workflow_id(NAMESPACE, request_id)).describe()
        ended = EndedUpdate(
            view, report.epoch, len(attesting), described.history_length, old, new, restored_byte_for_byte
        )
        self.ended.append(ended)
        if outcome == "completed":
            self.releases[report.epoch] = await self.resources.definitions()
        self.telling.seen(f"all {total} replicas attest release {report.epoch}")
        return ended

    async def answers_now(self, version: int) -> list[LoadRecord]:
        """Look at answers to requests sent from now on: all of them have to come from that version."""
        now = time.time()
        try:
            async with asyncio.timeout(PATIENCE):
                answers = await self.load.answers(SERVICES, ANSWERS, now)
        except TimeoutError:
            raise ExpectationNotMet("expected: every service answers under load") from None
        seen = {record.version for record in answers if record.failed is None}
        expect(seen == {version}, f"every answer is computed by version {version}", seen)
        self.expect_no_failure()
        self.telling.seen(
            f"{len(self.load.records):,} answers under load so far, 0 failed; the last {len(answers)}, from all "
            f"services, by version {version}"
        )
        return answers

    def expect_no_failure(self) -> None:
        """Not one request of the load has failed."""
        failed = [record for record in self.load.records if record.failed is not None]
        expect(not failed, "no request fails", failed[:3])
