"""Taking a write back: the exact former object, or nothing where somebody else has written."""

from __future__ import annotations

from typing import Any

import pytest

from taskroll.cluster.apply_change import apply_change, apply_changes
from taskroll.cluster.errors import Conflict, Unavailable
from taskroll.cluster.restore_change import matches_former, not_as_before, restore_change, restore_changes
from taskroll.models.errors import ForeignWrite, RefusedByCluster
from taskroll_agent.contracts import DefinitionKey

KEY = DefinitionKey("TaskDefinition", "encoder-task")
REQUEST = "update-1"
COMMIT = "c" * 40
OWNER = {
    "apiVersion": "v1",
    "kind": "ConfigMap",
    "name": "o",
    "uid": "u",
    "blockOwnerDeletion": True,
    "controller": False,
}
FOREIGN_METADATA: dict[str, Any] = {
    "labels": {"app": "gateway", "team": "theirs"},
    "annotations": {"kubectl.kubernetes.io/last-applied-configuration": '{"a": 1}\n', "note": "é\t"},
    "finalizers": ["example.com/b", "example.com/a"],
    "ownerReferences": [OWNER],
}


class Situation:
    """One definition, before an update, and the change that the update makes of it."""

    def __init__(self, lab, action: str) -> None:
        self.lab = lab
        self.action = action
        self.former = None
        self.content = None

    async def prepare(self, name: str = "encoder-task") -> None:
        lab = self.lab
        self.key = DefinitionKey("TaskDefinition", name)
        meta = {k: v for k, v in FOREIGN_METADATA.items() if self.action != "delete" or k != "finalizers"}
        if self.action != "create":
            await lab.create(lab.content(name, version="0"), **meta)
            managed = lab.content(name, version="1", labels={"stays": "1", "goes": "1"}, annotations={"doc": "old"})
            first = await lab.change(managed, git_commit="a" * 40)
            await apply_change(lab.taskroll, lab.namespace, first, managed, request_id="update-0")
            self.former = (await lab.live(self.key)).content
        if self.action != "delete":
            # «team» was somebody else's label; the update takes it over.
            self.content = lab.content(name, version="2", labels={"stays": "2", "comes": "1", "team": "ours"})
        self.change = await lab.change(self.content, key=self.key, git_commit=COMMIT if self.content else None)
        self.before = await lab.snapshot()

    async def apply(self, cluster=None) -> str:
        return await apply_change(
            cluster or self.lab.taskroll, self.lab.namespace, self.change, self.content, request_id=REQUEST
        )

    async def restore(self, cluster=None) -> str:
        return await restore_change(
            cluster or self.lab.taskroll, self.lab.namespace, self.change, self.former, request_id=REQUEST
        )


ACTIONS = ["create", "change", "delete"]


@pytest.fixture(params=ACTIONS)
async def situation(lab, request) -> Situation:
    found = Situation(lab, request.param)
    await found.prepare()
    return found


async def test_what_was_written_is_taken_back_byte_for_byte(lab, situation):
    assert not await not_as_before(lab.admin, lab.namespace, [situation.change])
    assert await situation.apply() == "written"
    assert await lab.snapshot() != situation.before
    assert await not_as_before(lab.admin, lab.namespace, [situation.change]) == [str(situation.key)]

    assert await situation.restore() == "restored"

    assert await lab.snapshot() == situation.before
    assert await not_as_before(lab.admin, lab.namespace, [situation.change]) == []
    assert await situation.restore() == "already"


async def test_what_was_never_written_stays_untouched(lab, situation):
    live = await lab.live(situation.key)
    assert await situation.restore() == "already"
    now = await lab.live(situation.key)
    assert (now and now.resource_version) == (live and live.resource_version)


@pytest.mark.parametrize("action", ACTIONS)
async def test_any_lost_request_or_answer_is_made_good_by_a_retry(lab, action):
    current = Situation(lab, action)
    rounds = 0

    async def prepare() -> None:
        nonlocal rounds
        rounds += 1
        await current.prepare(f"task-{rounds}")
        await current.apply()

    seen = {}
    async for fault, result in lab.with_each_fault(prepare, current.restore):
        assert await lab.snapshot() == current.before, fault
        seen[fault] = result
    writes = {fault: result for fault, result in seen.items() if not fault.startswith("read")}
    assert sorted(writes.values()) == ["already", "restored"], seen


FOREIGN_EDITS = {
    "source": lambda raw: raw["spec"].update(sourceCode="eA=="),
    "label": lambda raw: raw["metadata"].setdefault("labels", {}).update(who="me"),
    "managed label": lambda raw: raw["metadata"]["labels"].update(comes="2"),
    "managed label removed": lambda raw: raw["metadata"]["labels"].pop("comes"),
    "annotation": lambda raw: raw["metadata"]["annotations"].update(who="me"),
    "finalizer": lambda raw: raw["metadata"].setdefault("finalizers", []).append("example.com/new"),
}


@pytest.mark.parametrize("edit", FOREIGN_EDITS)
@pytest.mark.parametrize("moment", ["before the read", "between read and write"])
@pytest.mark.parametrize("action", ["create", "change"])
async def test_an_edit_of_what_the_update_wrote_is_left_and_named(lab, action, moment, edit):
    situation = Situation(lab, action)
    await situation.prepare()
    await situation.apply()
    act = FOREIGN_EDITS[edit]
    cluster = lab.taskroll
    if moment == "before the read":
        await lab.edit(act)
    else:
        cluster = lab.before_write(lambda: lab.edit(act))
    with pytest.raises(ForeignWrite, match="TaskDefinition/encoder-task is not as this update left or found it"):
        await situation.restore(cluster)
    edited = await lab.snapshot()
    with pytest.raises(ForeignWrite):
        await situation.restore()
    assert await lab.snapshot() == edited
    assert await not_as_before(lab.admin, lab.namespace, [situation.change]) == [str(situation.key)]


async def test_what_somebody_deleted_is_not_created_again(lab):
    situation = Situation(lab, "change")
    await situation.prepare()
    await situation.apply()
    await lab.edit(lambda raw: raw["metadata"].pop("finalizers"))
    await lab.delete()
    with pytest.raises(ForeignWrite, match="it is gone"):
        await situation.restore()
    assert await lab.snapshot() == {}


async def test_what_somebody_created_in_place_of_a_deleted_one_stays(lab):
    situation = Situation(lab, "delete")
    await situation.prepare()
    await situation.apply()
    await lab.create(lab.content(version="9"))
    with pytest.raises(ForeignWrite, match="it exists"):
        await situation.restore()
    assert (await lab.live()).content == lab.content(version="9")


async def test_what_somebody_else_created_with_our_very_content_is_not_deleted(lab):
    content = lab.content(version="2")
    change = await lab.change(content)
    await lab.create(content)
    with pytest.raises(ForeignWrite, match="somebody else created it"):
        await restore_change(lab.taskroll, lab.namespace, change, None, request_id=REQUEST)
    assert (await lab.live()).content == content


async def test_an_object_replaced_by_another_of_our_content_is_not_ours(lab):
    situation = Situation(lab, "change")
    await situation.prepare()
    await situation.apply()
    live = await lab.live()
    meta = {"labels": live.metadata.labels, "annotations": live.metadata.annotations}
    await lab.edit(lambda raw: raw["metadata"].pop("finalizers"))
    await lab.delete()
    await lab.create(live.content, **meta, ownerReferences=live.metadata.owner_references)
    with pytest.raises(ForeignWrite, match="deleted and created again"):
        await situation.restore()


async def test_a_passing_bump_of_the_version_does_not_stop_the_restore(lab, situation):
    await situation.apply()
    if situation.action == "delete":
        return

    async def bump() -> None:
        await lab.edit(lambda raw: raw["metadata"].setdefault("labels", {}).update(passing="x"))
        await lab.edit(lambda raw: raw["metadata"]["labels"].pop("passing"))

    assert await situation.restore(lab.before_write(bump)) == "restored"
    assert await lab.snapshot() == situation.before


async def test_a_deleted_object_that_finalizers_keep_is_waited_for(lab):
    former = lab.content(version="1")
    await lab.create(former, finalizers=["example.com/slow"])
    change = await lab.change(None)
    await apply_change(lab.taskroll, lab.namespace, change, None, request_id=REQUEST)
    with pytest.raises(Conflict, match=r"waits for example\.com/slow") as caught:
        await restore_change(lab.taskroll, lab.namespace, change, former, request_id=REQUEST)
    assert caught.value.retryable

    await lab.edit(lambda raw: raw["metadata"].pop("finalizers"))
    assert await restore_change(lab.taskroll, lab.namespace, change, former, request_id=REQUEST) == "restored"
    live = await lab.live()
    assert matches_former(live, change) and not live.is_deleting


@pytest.mark.parametrize("refusal", ["by the schema", "by an admission policy"])
async def test_twenty_definitions_of_which_the_thirteenth_is_refused_are_as_they_were(lab, refused_module, refusal):
    """Bar 4 of the main job: creations, changes and deletions mixed."""
    situations = []
    for number in range(20):
        situation = Situation(lab, ACTIONS[number % 3])
        await situation.prepare(f"task-{number:02}")
        situations.append(situation)
    refused = situations[12]
    spec = {"isUnitTask": "perhaps"} if refusal == "by the schema" else {"moduleName": refused_module}
    refused.content = lab.content("task-12", version="2", **spec)
    refused.change = await lab.change(refused.content)
    before = await lab.snapshot()
    changes = [situation.change for situation in situations]
    contents = {str(s.key): s.content for s in situations if s.content}
    formers = {str(s.key): s.former for s in situations if s.former}

    with pytest.raises(RefusedByCluster, match="isUnitTask" if refusal == "by the schema" else "not on a Monday"):
        await apply_changes(lab.taskroll, lab.namespace, changes, contents, request_id=REQUEST)
    changed = await not_as_before(lab.admin, lab.namespace, changes)
    assert {str(s.key) for s in situations[:12]} <= set(changed)

    results = await restore_changes(lab.taskroll, lab.namespace, changes, formers, request_id=REQUEST)
    assert results.count("restored") == len(changed)
    assert await not_as_before(lab.admin, lab.namespace, changes) == []
    assert await lab.snapshot() == before


async def test_one_that_cannot_be_restored_does_not_keep_the_others_from_it(lab):
    situations = []
    for number in range(6):
        situation = Situation(lab, ACTIONS[number % 3])
        await situation.prepare(f"task-{number}")
        situations.append(situation)
    before = await lab.snapshot()
    for situation in situations:
        await situation.apply()
    await lab.edit(FOREIGN_EDITS["label"], situations[0].key)
    await lab.edit(FOREIGN_EDITS["source"], situations[1].key)
    changes = [situation.change for situation in situations]
    formers = {str(s.key): s.former for s in situations if s.former}

    with pytest.raises(ForeignWrite, match="somebody else wrote 2 definitions") as caught:
        await restore_changes(lab.taskroll, lab.namespace, changes, formers, request_id=REQUEST)

    assert [detail.split(" ")[0] for detail in caught.value.details] == [
        "TaskDefinition/task-1",
        "TaskDefinition/task-0",
    ]
    left = {str(situations[0].key), str(situations[1].key)}
    after = await lab.snapshot()
    assert {k: v for k, v in after.items() if k not in left} == {k: v for k, v in before.items() if k not in left}
    assert set(await not_as_before(lab.admin, lab.namespace, changes)) == left


async def test_a_failure_that_may_pass_is_reported_before_a_foreign_write(lab):
    first, second = Situation(lab, "change"), Situation(lab, "change")
    await first.prepare("task-1")
    await second.prepare("task-2")
    await first.apply()
    await second.apply()
    await lab.edit(FOREIGN_EDITS["source"], second.key)

    async def unreachable(call) -> None:
        if call.name == "task-1" and call.is_write:
            raise OSError("no route to host")

    changes = [first.change, second.change]
    formers = {str(s.key): s.former for s in (first, second)}
    with pytest.raises(Unavailable):
        await restore_changes(lab.interposed(unreachable), lab.namespace, changes, formers, request_id=REQUEST)


async def test_the_former_content_has_to_be_the_one_of_the_plan(lab):
    situation = Situation(lab, "change")
    await situation.prepare()
    await situation.apply()
    with pytest.raises(ValueError, match="the plan says that it was"):
        await restore_change(
            lab.taskroll, lab.namespace, situation.change, lab.content(version="7"), request_id=REQUEST
        )
