"""What is live, and what its digest is."""

from __future__ import annotations

import pytest

from taskroll.cluster import objects
from taskroll.cluster.apply_change import apply_change
from taskroll.cluster.definitions import list_definitions, read_definition
from taskroll.cluster.errors import Expired, UnknownResource
from taskroll.cluster.managed_metadata import GIT_COMMIT, MANAGED_METADATA
from taskroll.cluster.objects import find_object, list_objects
from taskroll.cluster.resources import Resource
from taskroll.cluster.transport import Reply
from taskroll_agent.contracts import DefinitionKey

REQUEST = "update-1"


async def test_lists_both_kinds_in_pages_ordered_by_key(lab, monkeypatch):
    names = [f"task-{number}" for number in range(5)]
    for name in names:
        await lab.create(lab.content(name))
    await lab.create(lab.content("task-3", kind="ExecutionDescriptor"))
    monkeypatch.setattr(objects, "PAGE", 2)
    cluster = lab.interposed()

    live = await list_definitions(cluster, lab.namespace)

    assert list(live) == ["ExecutionDescriptor/task-3", *(f"TaskDefinition/{name}" for name in names)]
    assert len(cluster.transport.calls) == 1 + 3
    assert live["TaskDefinition/task-4"].content == lab.content("task-4")


async def test_a_list_that_outlived_its_token_begins_again(lab, monkeypatch):
    for number in range(3):
        await lab.create(lab.content(f"task-{number}"))
    monkeypatch.setattr(objects, "PAGE", 2)
    expired = []

    class Expiring:
        async def send(self, call, seconds):
            if "continue" in call.query and not expired:
                expired.append(call)
                return Reply(410, b'{"kind": "Status", "reason": "Expired", "message": "too old"}')
            return await lab.taskroll.transport.send(call, seconds)

    cluster = lab.interposed()
    cluster.transport = Expiring()
    live = await list_definitions(cluster, lab.namespace)
    assert len(live) == 3 and expired

    class AlwaysExpiring:
        async def send(self, call, seconds):
            return Reply(410, b'{"kind": "Status", "reason": "Expired", "message": "too old"}')

    cluster.transport = AlwaysExpiring()
    with pytest.raises(Expired):
        await list_definitions(cluster, lab.namespace)


async def test_what_others_put_on_an_object_does_not_change_its_digest(lab):
    content = lab.content()
    await lab.create(content, labels={"app": "x"}, annotations={"note": "y"}, finalizers=["example.com/f"])
    live = await lab.live()
    assert live.content == content
    assert live.entry.digest == content.digest()
    assert live.former().metadata.labels == {"app": "x"}


DRIFT = {
    "managed label changed": lambda raw: raw["metadata"]["labels"].update(team="b"),
    "managed label removed": lambda raw: raw["metadata"]["labels"].pop("team"),
    "managed annotation removed": lambda raw: raw["metadata"]["annotations"].pop("doc"),
    "list of managed keys removed": lambda raw: raw["metadata"]["annotations"].pop(MANAGED_METADATA),
    "list of managed keys unreadable": lambda raw: raw["metadata"]["annotations"].update({MANAGED_METADATA: "{"}),
    "list of managed keys of another form": lambda raw: raw["metadata"]["annotations"].update(
        {MANAGED_METADATA: '{"labels": 7, "annotations": [3]}'}
    ),
    "spec": lambda raw: raw["spec"].update(moduleName="other"),
}


@pytest.mark.parametrize("drift", DRIFT)
async def test_what_somebody_did_to_the_managed_part_shows_in_the_digest(lab, drift):
    content = lab.content(labels={"team": "a"}, annotations={"doc": "d"})
    await apply_change(lab.taskroll, lab.namespace, await lab.change(content), content, request_id=REQUEST)
    assert (await lab.live()).entry.digest == content.digest()
    await lab.edit(DRIFT[drift])
    assert (await lab.live()).entry.digest != content.digest()


async def test_the_commit_is_read_and_is_not_part_of_the_digest(lab):
    content = lab.content()
    for request_id, commit in (("update-1", "a" * 40), ("update-2", "b" * 40 + "-dirty"), ("update-3", None)):
        change = await lab.change(content, git_commit=commit)
        await apply_change(lab.taskroll, lab.namespace, change, content, request_id=request_id)
        live = await lab.live()
        assert (live.git_commit, live.entry.digest) == (commit, content.digest())
        assert live.metadata.annotations == ({GIT_COMMIT: commit} if commit else {})


async def test_an_absent_definition_is_none_and_an_unknown_kind_is_an_error(lab):
    assert await read_definition(lab.taskroll, lab.namespace, DefinitionKey("TaskDefinition", "none")) is None
    for version in ("cornserve.ai/v1", "nobody.example.com/v1"):
        unknown = Resource(version, "Unknown", "unknowns")
        with pytest.raises(UnknownResource, match="CRDs installed"):
            await find_object(lab.admin, unknown, lab.namespace, "x")
        with pytest.raises(UnknownResource):
            await list_objects(lab.admin, unknown, lab.namespace)
