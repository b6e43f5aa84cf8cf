"""Releases and the commit: one pointer, one chain, whatever races or fails."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from taskroll.cluster.commit_release import ReleaseOrder, commit_release, find_commit
from taskroll.cluster.errors import Forbidden
from taskroll.cluster.objects import create_object, delete_object, read_object, replace_object
from taskroll.cluster.releases import (
    current_release,
    find_release,
    list_releases,
    read_pointer,
    read_release,
)
from taskroll.cluster.resources import CONFIG_MAP, CONTROLLER_REVISION
from taskroll.models.errors import TamperedState, UnknownRelease
from taskroll_agent.contracts import POINTER_NAME, ReleaseEntry, ReleasePointer, release_name, sha256_digest

NOW = datetime(2026, 5, 4, 12, 0, 0, 123456, tzinfo=UTC)


def _entry(text: str) -> ReleaseEntry:
    return ReleaseEntry(digest=sha256_digest(text), git_commit="c" * 40)


BASE = {f"TaskDefinition/{name}": _entry(f"{name}-0") for name in "abc"}


def _order(request_id: str = "update-1", changes: dict[str, str | None] | None = None, **other: Any) -> ReleaseOrder:
    entries = {f"TaskDefinition/{k}": _entry(v) if v else None for k, v in (changes or {"a": "a-1"}).items()}
    given = {
        "request_id": request_id,
        "origin": "update",
        "changes": entries,
        "base": BASE,
        "requested_by": "ann",
        "reason": "why",
        "git_commit": "c" * 40,
        "now": NOW,
        **other,
    }
    return ReleaseOrder(**given)


async def test_there_is_no_release_at_first(lab):
    assert await read_pointer(lab.taskroll, lab.namespace) is None
    assert await current_release(lab.taskroll, lab.namespace) is None
    assert await list_releases(lab.taskroll, lab.namespace) == []
    assert await find_commit(lab.taskroll, lab.namespace, "update-1", "update") is None
    with pytest.raises(UnknownRelease, match=r"no release 1 .* there is none yet"):
        await find_release(lab.taskroll, lab.namespace, 1)


async def test_the_first_release_lays_the_changes_over_what_was_live(lab):
    order = _order(changes={"a": "a-1", "b": None, "d": "d-1"})
    done = await commit_release(lab.taskroll, lab.namespace, order)
    release = await current_release(lab.taskroll, lab.namespace)
    assert release.definitions == {
        "TaskDefinition/a": _entry("a-1"),
        "TaskDefinition/c": _entry("c-0"),
        "TaskDefinition/d": _entry("d-1"),
    }
    assert (release.epoch, release.previous, release.created_at) == (1, None, NOW)
    assert (done.epoch, done.previous_epoch, done.release, done.already) == (
        1,
        0,
        "taskroll-release-000001-update-1",
        False,
    )
    assert done.content_digest == release.content_digest()
    assert (await read_pointer(lab.taskroll, lab.namespace)).request_id == "update-1"


async def test_later_ones_lay_theirs_over_the_current_release_and_not_over_the_base(lab):
    await commit_release(lab.taskroll, lab.namespace, _order("u-1", {"a": "a-1"}))
    await commit_release(lab.taskroll, lab.namespace, _order("u-2", {"b": "b-2"}))
    done = await commit_release(lab.taskroll, lab.namespace, _order("u-3", {"c": None}))
    chain = await list_releases(lab.taskroll, lab.namespace)
    assert [release.epoch for release in chain] == [3, 2, 1]
    assert [release.request_id for release in chain] == ["u-3", "u-2", "u-1"]
    assert chain[0].definitions == {"TaskDefinition/a": _entry("a-1"), "TaskDefinition/b": _entry("b-2")}
    assert done.previous_epoch == 2
    assert await find_release(lab.taskroll, lab.namespace, 2) == chain[1]
    with pytest.raises(UnknownRelease, match="the newest is 3"):
        await find_release(lab.taskroll, lab.namespace, 4)


async def test_an_update_and_its_compensation_are_two_commits_of_one_request(lab):
    await commit_release(lab.taskroll, lab.namespace, _order("u-0"))
    former = await current_release(lab.taskroll, lab.namespace)
    update = await commit_release(lab.taskroll, lab.namespace, _order("u-1", {"a": "a-2", "d": "d-2"}))
    back = _order("u-1", {"a": "a-1", "d": None}, origin="compensation")
    taken_back = await commit_release(lab.taskroll, lab.namespace, back)
    assert (update.epoch, taken_back.epoch) == (2, 3)
    assert taken_back.content_digest == former.content_digest()
    for origin, epoch in (("update", 2), ("compensation", 3)):
        assert (await find_commit(lab.taskroll, lab.namespace, "u-1", origin)).epoch == epoch
    assert await find_commit(lab.taskroll, lab.namespace, "u-1", "rollback") is None
    again = await commit_release(lab.taskroll, lab.namespace, back)
    assert again.already and (again.epoch, again.previous_epoch) == (3, 2)


@pytest.mark.parametrize("newer", [0, 1, 3], ids=lambda n: f"{n} newer releases")
async def test_a_commit_made_before_is_recognised_under_newer_ones(lab, newer):
    await commit_release(lab.taskroll, lab.namespace, _order("u-0"))
    first = await commit_release(lab.taskroll, lab.namespace, _order("u-1", {"b": "b-1"}))
    for number in range(newer):
        await commit_release(lab.taskroll, lab.namespace, _order(f"v-{number}", {"c": f"c-{number}"}))
    later = _order("u-1", {"b": "b-1"}, now=NOW + timedelta(minutes=5))
    again = await commit_release(lab.taskroll, lab.namespace, later)
    assert again.already
    assert (again.epoch, again.release, again.content_digest) == (first.epoch, first.release, first.content_digest)
    assert len(await list_releases(lab.taskroll, lab.namespace)) == 2 + newer


async def test_any_lost_request_or_answer_is_made_good_by_a_retry(lab):
    """With the retry at a later time, as it is."""
    await commit_release(lab.taskroll, lab.namespace, _order("u-0"))
    state = {"number": 0, "time": NOW}

    async def prepare():
        state["number"] += 1

    async def act(cluster):
        state["time"] += timedelta(seconds=1)
        order = _order(f"u-{state['number']}", {"a": f"a-{state['number']}"}, now=state["time"])
        return await commit_release(cluster, lab.namespace, order)

    seen = []
    async for fault, done in lab.with_each_fault(prepare, act):
        chain = await list_releases(lab.taskroll, lab.namespace)
        assert [release.request_id for release in chain].count(f"u-{state['number']}") == 1, fault
        assert done.epoch == chain[0].epoch == len(chain), fault
        seen.append((fault, done.already))
    assert ("replace ConfigMap: answer lost", True) in seen
    assert ("create ControllerRevision: answer lost", False) in seen
    assert len(seen) >= 10


async def test_ten_commits_at_once_make_one_complete_chain(lab):
    orders = [_order(f"u-{n}", {f"task-{n}": f"v-{n}"}, base={}) for n in range(10)]
    done = await asyncio.gather(*(commit_release(lab.taskroll, lab.namespace, order) for order in orders))
    assert sorted(commit.epoch for commit in done) == list(range(1, 11))
    chain = await list_releases(lab.taskroll, lab.namespace)
    assert [release.epoch for release in chain] == list(range(10, 0, -1))
    assert {release.request_id for release in chain} == {order.request_id for order in orders}
    assert set(chain[0].definitions) == {f"TaskDefinition/task-{n}" for n in range(10)}, "no change was lost"
    assert [len(release.definitions) for release in chain] == list(range(10, 0, -1))
    for commit in done:
        found = await find_release(lab.taskroll, lab.namespace, commit.epoch)
        assert found.content_digest() == commit.content_digest


async def test_one_that_lost_the_race_for_its_epoch_takes_the_next_and_leaves_an_orphan(lab):
    await commit_release(lab.taskroll, lab.namespace, _order("u-0"))
    other = _order("u-9", {"c": "c-9"})
    racing = lab.before_write(lambda: commit_release(lab.taskroll, lab.namespace, other), verb="replace")
    done = await commit_release(racing, lab.namespace, _order("u-1", {"b": "b-1"}))
    assert (done.epoch, done.previous_epoch) == (3, 2)
    chain = await list_releases(lab.taskroll, lab.namespace)
    assert [release.request_id for release in chain] == ["u-1", "u-9", "u-0"]
    assert chain[0].definitions["TaskDefinition/c"] == _entry("c-9")
    orphan = await read_release(lab.taskroll, lab.namespace, release_name(2, "u-1"))
    assert orphan not in chain
    assert (await find_commit(lab.taskroll, lab.namespace, "u-1", "update")).epoch == 3
    assert (await find_release(lab.taskroll, lab.namespace, 2)).request_id == "u-9"


async def test_a_release_that_was_stored_and_never_committed_does_not_count(lab):
    """The worker died between the two writes; meanwhile the plan changed what is to be committed."""

    async def die(call):
        if call.kind == "ConfigMap" and call.is_write:
            raise OSError("died")

    await commit_release(lab.taskroll, lab.namespace, _order("u-0"))
    with pytest.raises(Exception, match="died"):
        await commit_release(lab.interposed(die), lab.namespace, _order("u-1", {"a": "a-1"}))
    assert await find_commit(lab.taskroll, lab.namespace, "u-1", "update") is None
    done = await commit_release(lab.taskroll, lab.namespace, _order("u-1", {"a": "a-2"}))
    assert not done.already
    assert (await current_release(lab.taskroll, lab.namespace)).definitions["TaskDefinition/a"] == _entry("a-2")
    assert (done.epoch, done.previous_epoch) == (3, 1), "the epoch of the orphan is left out"


async def _edit_pointer(lab, **changed: str) -> None:
    source = await read_object(lab.admin, CONFIG_MAP, lab.namespace, POINTER_NAME)
    body = {**source.raw, "data": {**source.data, **changed}}
    await replace_object(lab.around, CONFIG_MAP, lab.namespace, body, manager="kubectl-edit")


@pytest.mark.parametrize(
    "edit",
    [{"epoch": "9"}, {"release": "taskroll-release-000001-u-0"}, {"request_id": "x"}, {"digest": "x"}, {"more": "x"}],
    ids=lambda edit: next(iter(edit)),
)
async def test_a_pointer_that_was_edited_by_hand_stops_everything(lab, edit):
    await commit_release(lab.taskroll, lab.namespace, _order("u-0"))
    await commit_release(lab.taskroll, lab.namespace, _order("u-1", {"b": "b-1"}))
    await _edit_pointer(lab, **edit)
    for act in (
        lambda: read_pointer(lab.taskroll, lab.namespace),
        lambda: list_releases(lab.taskroll, lab.namespace),
        lambda: commit_release(lab.taskroll, lab.namespace, _order("u-2")),
        lambda: find_commit(lab.taskroll, lab.namespace, "u-1", "update"),
    ):
        with pytest.raises(TamperedState, match="taskroll-release"):
            await act()


@pytest.mark.parametrize(
    "forged",
    [
        {"content_digest": sha256_digest("other")},
        {"epoch": 7},
        {"release": "taskroll-release-000009-none"},
        {"release": "other"},
    ],
    ids=["content", "epoch", "release that is not there", "no release"],
)
async def test_a_forged_pointer_with_a_right_digest_does_not_fit_its_release(lab, forged):
    await commit_release(lab.taskroll, lab.namespace, _order("u-0"))
    pointer = await read_pointer(lab.taskroll, lab.namespace)
    await _edit_pointer(lab, **ReleasePointer(**{**pointer.model_dump(), **forged}).data())
    for act in (
        lambda: current_release(lab.taskroll, lab.namespace),
        lambda: commit_release(lab.taskroll, lab.namespace, _order("u-1")),
    ):
        with pytest.raises(TamperedState):
            await act()


async def test_a_pointer_that_was_deleted_does_not_begin_at_one_again(lab):
    await commit_release(lab.taskroll, lab.namespace, _order("u-0"))
    await commit_release(lab.taskroll, lab.namespace, _order("u-1", {"b": "b-1"}))
    await lab.delete_object(CONFIG_MAP, POINTER_NAME)
    with pytest.raises(TamperedState, match="the pointer was deleted"):
        await commit_release(lab.taskroll, lab.namespace, _order("u-2"))


async def test_a_release_missing_from_the_chain_is_said(lab):
    await commit_release(lab.taskroll, lab.namespace, _order("u-0"))
    await commit_release(lab.taskroll, lab.namespace, _order("u-1"))
    await lab.delete_object(CONTROLLER_REVISION, release_name(1, "u-0"))
    for act in (list_releases(lab.taskroll, lab.namespace), find_release(lab.taskroll, lab.namespace, 1)):
        with pytest.raises(TamperedState, match=r"taskroll-release-000001-u-0 .* is gone"):
            await act


async def test_a_chain_that_leads_back_to_itself_is_not_followed(lab):
    await commit_release(lab.taskroll, lab.namespace, _order("u-0"))
    release = await current_release(lab.taskroll, lab.namespace)
    ring = release.model_copy(update={"epoch": 2, "request_id": "r", "previous": release_name(2, "r")})
    name = release_name(2, "r")
    labels = {"taskroll.dev/type": "release", "taskroll.dev/request": "r"}
    body = {"metadata": {"name": name, "labels": labels}, "data": ring.model_dump(mode="json"), "revision": 2}
    await create_object(lab.admin, CONTROLLER_REVISION, lab.namespace, body, manager="mallory")
    forged = ReleasePointer(epoch=2, release=name, request_id="r", content_digest=ring.content_digest())
    await _edit_pointer(lab, **forged.data())
    with pytest.raises(TamperedState, match="as the one before"):
        await list_releases(lab.taskroll, lab.namespace)


async def test_listing_many_releases_is_one_list_and_not_a_read_each(lab):
    for number in range(6):
        await commit_release(lab.taskroll, lab.namespace, _order(f"u-{number}"))
    cluster = lab.interposed()
    assert len(await list_releases(cluster, lab.namespace)) == 6
    assert [call.verb for call in cluster.transport.calls] == ["read", "list"]


async def test_looking_for_a_commit_goes_no_further_back_than_it_has_to(lab):
    for number in range(6):
        await commit_release(lab.taskroll, lab.namespace, _order(f"u-{number}"))
    cluster = lab.interposed()
    assert await find_commit(cluster, lab.namespace, "u-4", "compensation") is None
    assert [call.name for call in cluster.transport.calls] == [
        POINTER_NAME,
        None,
        release_name(6, "u-5"),
        release_name(5, "u-4"),
    ]


async def test_taskroll_may_not_delete_the_pointer(lab):
    await commit_release(lab.taskroll, lab.namespace, _order("u-0"))
    source = await read_object(lab.admin, CONFIG_MAP, lab.namespace, POINTER_NAME)
    with pytest.raises(Forbidden):
        await delete_object(
            lab.taskroll,
            CONFIG_MAP,
            lab.namespace,
            POINTER_NAME,
            uid=source.uid,
            resource_version=source.resource_version,
        )
