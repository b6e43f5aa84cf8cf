"""Writing a definition: what is written, what is kept, and what stops it."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from taskroll.cluster.apply_change import apply_change, apply_changes, dry_run_changes
from taskroll.cluster.definitions import list_definitions
from taskroll.cluster.errors import Unavailable
from taskroll.cluster.managed_metadata import GIT_COMMIT, MANAGED_METADATA
from taskroll.models.errors import ForeignWrite, InvalidRequest, RefusedByCluster
from taskroll_agent.contracts import DefinitionKey

KEY = DefinitionKey("TaskDefinition", "encoder-task")
REQUEST = "update-1"
COMMIT = "c" * 40


async def test_creates_a_definition_with_the_metadata_that_its_content_brings(lab):
    content = lab.content(labels={"team": "vision"}, annotations={"doc": "http://x"})
    change = await lab.change(content, git_commit=COMMIT)

    assert await apply_change(lab.taskroll, lab.namespace, change, content, request_id=REQUEST) == "written"

    live = await lab.live()
    assert live.content == content
    assert live.entry == change.after
    assert live.metadata.labels == {"team": "vision"}
    assert live.metadata.annotations == {
        "doc": "http://x",
        GIT_COMMIT: COMMIT,
        MANAGED_METADATA: '{"annotations":["doc"],"labels":["team"]}',
    }


async def test_changes_a_definition_and_keeps_what_belongs_to_others(lab):
    await lab.create(
        lab.content(version="1"),
        labels={"app": "gateway"},
        annotations={"kubectl.kubernetes.io/last-applied-configuration": "{}"},
        finalizers=["example.com/keep"],
        ownerReferences=[{"apiVersion": "v1", "kind": "ConfigMap", "name": "owner", "uid": "u-1"}],
    )
    first = lab.content(version="2", labels={"team": "vision", "tier": "gold"})
    change = await lab.change(first, git_commit=COMMIT)
    assert await apply_change(lab.taskroll, lab.namespace, change, first, request_id=REQUEST) == "written"
    second = lab.content(version="3", labels={"team": "speech"})
    change = await lab.change(second)
    assert await apply_change(lab.taskroll, lab.namespace, change, second, request_id="update-2") == "written"

    live = await lab.live()
    assert live.content == second
    assert live.git_commit is None
    assert live.metadata.labels == {"app": "gateway", "team": "speech"}
    assert live.metadata.annotations == {
        "kubectl.kubernetes.io/last-applied-configuration": "{}",
        MANAGED_METADATA: '{"annotations":[],"labels":["team"]}',
    }
    assert live.metadata.finalizers == ["example.com/keep"]
    assert [owner["name"] for owner in live.metadata.owner_references] == ["owner"]


async def test_deletes_a_definition(lab):
    await lab.create(lab.content())
    change = await lab.change(None)
    assert await apply_change(lab.taskroll, lab.namespace, change, None, request_id=REQUEST) == "written"
    assert await lab.live() is None
    assert await apply_change(lab.taskroll, lab.namespace, change, None, request_id=REQUEST) == "already"


async def test_a_deleted_definition_that_finalizers_keep_counts_as_deleted(lab):
    await lab.create(lab.content(), finalizers=["example.com/slow"])
    change = await lab.change(None)
    assert await apply_change(lab.taskroll, lab.namespace, change, None, request_id=REQUEST) == "written"
    assert (await lab.live()).is_deleting
    assert await apply_change(lab.taskroll, lab.namespace, change, None, request_id=REQUEST) == "already"


async def test_the_write_carries_the_update_id_and_its_time(lab):
    content = lab.content()
    await apply_change(lab.taskroll, lab.namespace, await lab.change(content), content, request_id=REQUEST)
    (writer,) = (await lab.live()).writers
    assert (writer.manager, writer.subresource) == ("taskroll-update-1", "")


def _set(path: str, value: Any):
    def edit(raw: dict[str, Any]) -> None:
        *parents, last = (part.replace("~", "/") for part in path.split("/"))
        node = raw
        for name in parents:
            node = node.setdefault(name, {})
        node[last] = value

    return edit


FOREIGN_EDITS = {
    "source": (_set("spec/sourceCode", "eA=="), "content differs: sha256:"),
    "module": (_set("spec/moduleName", "lib.other"), "content differs: sha256:"),
    "unit task": (_set("spec/isUnitTask", False), "content differs: sha256:"),
    "label added": (_set("metadata/labels/who", "me"), "label who was added"),
    "label changed": (_set("metadata/labels/app", "other"), "label app was changed"),
    "labels removed": (_set("metadata/labels", {}), "label app was removed"),
    "annotation added": (_set("metadata/annotations/who", "me"), "annotation who was added"),
    "commit": (_set(f"metadata/annotations/{GIT_COMMIT.replace('/', '~')}", COMMIT), "was added"),
    "finalizer": (_set("metadata/finalizers", ["example.com/keep"]), "finalizers differ"),
    "owner": (
        _set("metadata/ownerReferences", [{"apiVersion": "v1", "kind": "ConfigMap", "name": "o", "uid": "u"}]),
        "ownerReferences differ",
    ),
}


@pytest.mark.parametrize("edit", FOREIGN_EDITS)
@pytest.mark.parametrize("moment", ["before the read", "between read and write"])
@pytest.mark.parametrize("action", ["change", "delete"])
async def test_a_foreign_edit_stops_the_write_and_is_named(lab, edit, moment, action):
    act, named = FOREIGN_EDITS[edit]
    await lab.create(lab.content(version="1"), labels={"app": "gateway"})
    content = lab.content(version="2") if action == "change" else None
    change = await lab.change(content)
    if moment == "before the read":
        await lab.edit(act)
        cluster = lab.taskroll
    else:
        cluster = lab.before_write(lambda: lab.edit(act))

    with pytest.raises(ForeignWrite) as caught:
        await apply_change(cluster, lab.namespace, change, content, request_id=REQUEST)

    assert named in caught.value.message
    assert "TaskDefinition/encoder-task" in caught.value.message
    assert "last written at 20" in caught.value.message
    assert "'kubectl-edit'" in caught.value.message or edit == "labels removed"
    edited = await lab.snapshot()
    with pytest.raises(ForeignWrite):
        await apply_change(lab.taskroll, lab.namespace, change, content, request_id=REQUEST)
    assert await lab.snapshot() == edited


@pytest.mark.parametrize("moment", ["before the read", "between read and write"])
async def test_a_definition_that_vanished_is_not_created_again(lab, moment):
    await lab.create(lab.content(version="1"))
    content = lab.content(version="2")
    change = await lab.change(content)
    if moment == "before the read":
        await lab.delete()
        cluster = lab.taskroll
    else:
        cluster = lab.before_write(lab.delete)
    with pytest.raises(ForeignWrite, match="it is gone"):
        await apply_change(cluster, lab.namespace, change, content, request_id=REQUEST)
    assert await lab.live() is None


@pytest.mark.parametrize("action", ["change", "delete"])
async def test_one_that_was_deleted_and_created_again_is_another(lab, action):
    former = lab.content(version="1")
    await lab.create(former)
    content = lab.content(version="2") if action == "change" else None
    change = await lab.change(content)

    async def again() -> None:
        await lab.delete()
        await lab.create(former)

    with pytest.raises(ForeignWrite, match="deleted and created again"):
        await apply_change(lab.before_write(again), lab.namespace, change, content, request_id=REQUEST)
    assert (await lab.live()).content == former


@pytest.mark.parametrize("same", [True, False], ids=["with the same content", "with other content"])
@pytest.mark.parametrize("moment", ["before the read", "between read and write"])
async def test_one_that_somebody_else_created_first_stays_theirs(lab, moment, same):
    content = lab.content(version="2")
    change = await lab.change(content)
    theirs = content if same else lab.content(version="9")
    if moment == "before the read":
        await lab.create(theirs)
        cluster = lab.taskroll
    else:
        cluster = lab.before_write(lambda: lab.create(theirs))
    with pytest.raises(ForeignWrite, match="it exists"):
        await apply_change(cluster, lab.namespace, change, content, request_id=REQUEST)
    assert (await lab.live()).content == theirs


async def test_a_write_that_changes_nothing_of_it_is_no_foreign_write(lab):
    """A mere bump of resourceVersion, as a status write makes it: the content is what the plan was made from."""
    await lab.create(lab.content(version="1"), labels={"app": "gateway"})
    content = lab.content(version="2")
    change = await lab.change(content)

    async def bump() -> None:
        await lab.edit(_set("metadata/labels/passing", "x"))
        await lab.edit(lambda raw: raw["metadata"]["labels"].pop("passing"))

    assert await apply_change(lab.before_write(bump), lab.namespace, change, content, request_id=REQUEST) == "written"
    assert (await lab.live()).content == content


@pytest.mark.parametrize("action", ["create", "change", "only takes a label away", "delete"])
async def test_any_lost_request_or_answer_is_made_good_by_a_retry(lab, action):
    rounds = 0
    state: dict[str, Any] = {}

    async def prepare() -> None:
        nonlocal rounds
        rounds += 1
        state["content"] = lab.content(f"task-{rounds}", version="2")
        if action == "only takes a label away":
            former = lab.content(f"task-{rounds}", version="2", labels={"team": "x"})
            change = await lab.change(former)
            await apply_change(lab.taskroll, lab.namespace, change, former, request_id="update-0")
        elif action != "create":
            await lab.create(lab.content(f"task-{rounds}", version="1"))
        key = state["content"].key
        state["content"] = None if action == "delete" else state["content"]
        state["key"], state["change"] = key, await lab.change(state["content"], key=key)

    async def act(cluster):
        return await apply_change(cluster, lab.namespace, state["change"], state["content"], request_id=REQUEST)

    seen = {}
    async for fault, result in lab.with_each_fault(prepare, act):
        live = await lab.live(state["key"])
        assert (live.content if live else None) == state["content"], fault
        seen[fault] = result
    writes = {fault: result for fault, result in seen.items() if not fault.startswith("read")}
    assert sorted(writes.values()) == ["already", "written"], seen


async def test_a_dry_run_asks_and_changes_nothing(lab):
    await lab.create(lab.content("b", version="1"))
    await lab.create(lab.content("c", version="1"))
    before = await list_definitions(lab.admin, lab.namespace)
    contents = [lab.content("a"), lab.content("b", version="2")]
    changes = [await lab.change(content) for content in contents]
    changes.append(await lab.change(None, key=DefinitionKey("TaskDefinition", "c")))
    by_key = {str(content.key): content for content in contents}

    await dry_run_changes(lab.taskroll, lab.namespace, changes, by_key, request_id=REQUEST)

    after = await list_definitions(lab.admin, lab.namespace)
    assert {key: live.resource_version for key, live in after.items()} == {
        key: live.resource_version for key, live in before.items()
    }


async def test_a_dry_run_names_all_that_the_api_server_refuses(lab, refused_module):
    contents = [
        lab.content("a"),
        lab.content("b", isUnitTask="perhaps"),
        lab.content("c", moduleName=refused_module),
        lab.content("d", colour="green"),
    ]
    changes = [await lab.change(content) for content in contents]
    with pytest.raises(RefusedByCluster) as caught:
        await dry_run_changes(
            lab.taskroll, lab.namespace, changes, {str(c.key): c for c in contents}, request_id=REQUEST
        )
    assert len(caught.value.details) == 3
    assert "isUnitTask" in caught.value.details[0]
    assert "not on a Monday" in caught.value.details[1]
    assert 'unknown field "spec.colour"' in caught.value.details[2]
    assert await lab.snapshot() == {}


async def test_content_that_the_api_server_would_complete_is_refused(lab):
    """The live digest would be another one than the release says."""
    content = lab.content(kind="ExecutionDescriptor")
    del content.spec["isDefault"]
    change = await lab.change(content)
    with pytest.raises(RefusedByCluster, match=r"stores something else than was sent \(isDefault\)"):
        await apply_change(lab.taskroll, lab.namespace, change, content, request_id=REQUEST, dry_run=True)


async def test_keys_of_taskroll_are_not_for_content(lab):
    content = lab.content(labels={"taskroll.dev/type": "release"})
    with pytest.raises(InvalidRequest, match=r"taskroll\.dev/type"):
        await apply_change(lab.taskroll, lab.namespace, await lab.change(content), content, request_id=REQUEST)


async def test_content_and_plan_have_to_fit(lab):
    change = await lab.change(lab.content(version="2"))
    with pytest.raises(ValueError, match="the plan says"):
        await apply_change(lab.taskroll, lab.namespace, change, lab.content(version="3"), request_id=REQUEST)
    assert await lab.live() is None


async def test_after_a_failure_no_more_writes_are_started_and_those_under_way_are_settled(lab):
    contents = [lab.content(f"task-{number:02}") for number in range(40)]
    contents[5] = lab.content("task-05", isUnitTask="perhaps")
    changes = [await lab.change(content) for content in contents]
    by_key = {str(content.key): content for content in contents}
    reported = []
    before = asyncio.all_tasks()

    with pytest.raises(RefusedByCluster):
        await apply_changes(
            lab.taskroll,
            lab.namespace,
            changes,
            by_key,
            request_id=REQUEST,
            on_settled=lambda change, result: reported.append((change.name, result)),
        )

    assert asyncio.all_tasks() == before
    written = {key.split("/")[1] for key in await lab.snapshot()}
    assert written == {name for name, _ in reported}
    assert {"task-00", "task-04"} <= written
    assert len(written) < 25


async def test_many_changes_are_written_and_a_second_run_finds_them_done(lab):
    contents = [lab.content(f"task-{number:02}") for number in range(20)]
    changes = [await lab.change(content) for content in contents]
    by_key = {str(content.key): content for content in contents}
    arguments = (lab.taskroll, lab.namespace, changes, by_key)
    assert await apply_changes(*arguments, request_id=REQUEST) == ["written"] * 20
    assert await apply_changes(*arguments, request_id=REQUEST) == ["already"] * 20


async def test_an_overloaded_server_is_passed_on_as_retryable(lab):
    async def overloaded(_call) -> None:
        raise TimeoutError

    content = lab.content()
    change = await lab.change(content)
    with pytest.raises(Unavailable) as caught:
        await apply_change(lab.interposed(overloaded), lab.namespace, change, content, request_id=REQUEST)
    assert caught.value.retryable and caught.value.code == "ServiceUnavailable"
