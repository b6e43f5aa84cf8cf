"""Which release a rollback goes back to."""

from datetime import UTC, datetime
from typing import Literal

import pytest

from starter.rollback import Restorable, rollback_target
from taskroll.models.errors import UnknownRelease
from taskroll_agent.contracts import Release, ReleaseEntry

Origin = Literal["update", "rollback", "compensation"]


def release(epoch: int, content: str, request_id: str, origin: Origin = "update") -> Release:
    return Release(
        epoch=epoch,
        request_id=request_id,
        origin=origin,
        previous=None,
        created_at=datetime(2026, 4, 1, tzinfo=UTC),
        requested_by="tester",
        reason="",
        definitions={"TaskDefinition/echo": ReleaseEntry(digest="sha256:" + content * 64)},
    )


def chain(*releases: Release) -> Restorable:
    """Given oldest first."""
    return Restorable.of(list(reversed(releases)))


TAKEN_BACK = chain(
    release(1, "a", "u1"),
    release(2, "b", "u2"),
    release(3, "c", "u3"),
    release(4, "b", "u3", "compensation"),
)


@pytest.mark.parametrize(
    ("known", "asked", "target"),
    [
        pytest.param(chain(release(1, "a", "u1"), release(2, "b", "u2")), None, 1, id="the one before"),
        pytest.param(TAKEN_BACK, None, 1, id="not the one that was taken back, nor the same content again"),
        pytest.param(
            chain(release(1, "a", "u1"), release(2, "b", "u2"), release(3, "a", "r1", "rollback")),
            None,
            2,
            id="a rollback is itself taken back by the next",
        ),
        pytest.param(
            chain(release(1, "a", "u1"), release(2, "b", "u2"), release(3, "b", "u3")), None, 1, id="other content"
        ),
        pytest.param(TAKEN_BACK, 1, 1, id="named"),
        pytest.param(TAKEN_BACK, 2, 2, id="the same content as now: no change"),
        pytest.param(TAKEN_BACK, 4, 4, id="the current one: no change"),
    ],
)
def test_target(known: Restorable, asked: int | None, target: int) -> None:
    assert rollback_target(known, asked) == target


@pytest.mark.parametrize(
    ("known", "asked", "said"),
    [
        pytest.param(chain(), None, "nothing has been released yet", id="empty"),
        pytest.param(chain(), 1, "no release 1; nothing has been released yet", id="empty, named"),
        pytest.param(chain(release(1, "a", "u1")), None, "no release to go back to", id="only one"),
        pytest.param(TAKEN_BACK, 9, "no release 9; choose one of 4, 2, 1", id="unknown"),
        pytest.param(TAKEN_BACK, 3, "release 3 was taken back.*choose one of 4, 2, 1", id="taken back"),
    ],
)
def test_refused_with_those_that_may_be_chosen(known: Restorable, asked: int | None, said: str) -> None:
    with pytest.raises(UnknownRelease, match=said):
        rollback_target(known, asked)


def test_many_choices_are_cut() -> None:
    known = chain(*(release(epoch, "a", f"u{epoch}") for epoch in range(1, 31)))
    with pytest.raises(UnknownRelease, match=r"choose one of 30, .* 11 and 10 older ones"):
        rollback_target(known, 99)
