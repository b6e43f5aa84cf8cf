"""An update in words: what counts as a change between two looks, and what the facts say."""

from datetime import UTC, datetime
from typing import Any

import pytest

from starter.cli.update_text import changes, describe
from starter.update_view import ActivityProgress, UpdateView
from taskroll.models.plan import PlanSummary
from taskroll.models.status import Decision, Step, UpdateStatus

NOW = datetime(2026, 4, 1, 10, tzinfo=UTC)
FIRST, SECOND = "sha256:" + "1" * 64, "sha256:" + "2" * 64


def view(note: str = "", **status: Any) -> UpdateView:
    return UpdateView(
        status=UpdateStatus(
            request_id="one",
            namespace="any",
            request_digest=FIRST,
            requested_by="tester",
            reason="",
            started_at=NOW,
            **status,
        ),
        workflow_id="task-update/any/one",
        execution="running",
        progress=[ActivityProgress(activity="verify", done=1, total=2, note=note)] if note else [],
    )


@pytest.mark.parametrize(
    ("before", "now", "lines"),
    [
        ("verifying, round 1, waits for a", "verifying, round 2, waits for a", []),
        (
            "verifying, round 2, waits for a",
            "verifying, round 3, waits for b",
            ["verify: 1/2 verifying, round 3, waits for b"],
        ),
    ],
)
def test_a_round_alone_is_no_change(before: str, now: str, lines: list[str]) -> None:
    assert [line for _, line, _ in changes(view(before), view(now))] == lines


def test_a_step_whose_end_nobody_saw() -> None:
    cancelled = Step(name="verify", started_at=NOW, state="cancelled")
    assert [line for _, line, _ in changes(None, view(steps=[cancelled]))] == ["verify: cancelled"]


@pytest.mark.parametrize(("digest", "is_former"), [(FIRST, True), (SECOND, False)])
def test_an_approval_of_a_former_plan_says_so(digest: str, is_former: bool) -> None:
    plan = PlanSummary(
        name="taskroll-plan-one-2", number=2, digest=SECOND, base_epoch=0, create=[], change=["TaskDefinition/echo"],
        delete=[], closure=1, services=[], instances=[], warnings=[],
    )  # fmt: skip
    decided = Decision(decision="approved", by="root", reason="fine", plan_digest=digest, at=NOW)
    _, facts, *_ = describe(view(plan=plan, decisions=[decided]))
    from rich.console import Console

    console = Console(width=200)
    with console.capture() as captured:
        console.print(facts)
    said = captured.get()
    assert "by root: fine" in said
    assert ("for a former plan, sha256:111111111111…" in said) is is_former
