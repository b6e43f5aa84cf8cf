"""Documents that are written once: revisions, requests, plans."""

from __future__ import annotations

import asyncio

import pytest

from taskroll.cluster.documents import DocumentConflict, list_documents, read_document, write_document
from taskroll.cluster.errors import Forbidden, Invalid, NotFound, TooLarge
from taskroll.cluster.objects import create_object, replace_object
from taskroll.cluster.plans import read_plan, write_plan
from taskroll.cluster.requests import read_request, submit_request
from taskroll.cluster.resources import CONTROLLER_REVISION
from taskroll.cluster.revisions import (
    missing_revisions,
    read_definition_revision,
    read_definition_revisions,
    write_definition_revision,
    write_definition_revisions,
)
from taskroll.models.errors import RequestConflict, TamperedState, UnknownUpdate
from taskroll.models.names import plan_name
from taskroll.models.plan import Plan
from taskroll.models.policy import UpdatePolicy
from taskroll.models.request import SubmittedRequest
from taskroll_agent.contracts import revision_name

REQUEST = "update-1"


def _write(cluster, lab, **changed):
    given = {"type": "plan", "name": "taskroll-x", "data": {"a": 1}, "request_id": REQUEST, **changed}
    return write_document(cluster, lab.namespace, **given)


async def test_a_document_is_written_once(lab):
    assert await _write(lab.taskroll, lab)
    assert not await _write(lab.taskroll, lab)
    assert not await _write(lab.taskroll, lab, request_id="update-2"), "the same document of another update"
    document = await read_document(lab.taskroll, lab.namespace, "taskroll-x", type="plan")
    assert (document.type, document.name, document.request_id, document.data) == (
        "plan",
        "taskroll-x",
        REQUEST,
        {"a": 1},
    )


async def test_json_comes_back_as_it_was(lab):
    data = {"null": None, "float": 604800.0, "big": 2**53, "text": "é\n ", "list": [{"b": 1, "a": []}], "no": False}
    await _write(lab.taskroll, lab, data=data)
    assert (await read_document(lab.taskroll, lab.namespace, "taskroll-x", type="plan")).data == data


@pytest.mark.parametrize("other", [{"data": {"a": 2}}, {"type": "request"}])
async def test_another_document_under_the_name_is_a_conflict(lab, other):
    await _write(lab.taskroll, lab)
    with pytest.raises(DocumentConflict, match="taskroll-x is there with other content") as caught:
        await _write(lab.taskroll, lab, **other)
    assert caught.value.known.data == {"a": 1}


async def test_a_lost_answer_is_made_good_by_a_retry(lab):
    number = 0

    async def prepare():
        nonlocal number
        number += 1

    seen = {}
    async for fault, result in lab.with_each_fault(prepare, lambda c: _write(c, lab, name=f"taskroll-{number}")):
        seen[fault] = result
    assert seen == {"create ControllerRevision: request lost": True, "create ControllerRevision: answer lost": False}


async def test_nobody_changes_a_document_and_taskroll_does_not_even_try(lab):
    await _write(lab.taskroll, lab)

    async def edit(cluster):
        source = await lab.object(CONTROLLER_REVISION, "taskroll-x")
        await replace_object(
            cluster, CONTROLLER_REVISION, lab.namespace, {**source.raw, "data": {"a": 2}}, manager="me"
        )

    with pytest.raises(Invalid, match="immutable"):
        await edit(lab.admin)
    with pytest.raises(Forbidden):
        await edit(lab.taskroll)


async def test_a_document_of_another_type_is_not_found(lab):
    await _write(lab.taskroll, lab)
    with pytest.raises(NotFound, match="it is a plan, not a release"):
        await read_document(lab.taskroll, lab.namespace, "taskroll-x", type="release")
    with pytest.raises(NotFound):
        await read_document(lab.taskroll, lab.namespace, "taskroll-y", type="plan")


async def test_documents_are_listed_by_type_and_update(lab):
    await _write(lab.taskroll, lab, name="a")
    await _write(lab.taskroll, lab, name="b", request_id="update-2")
    await _write(lab.taskroll, lab, name="c", type="request")
    assert {d.name for d in await list_documents(lab.taskroll, lab.namespace, type="plan")} == {"a", "b"}
    of_one = await list_documents(lab.taskroll, lab.namespace, type="plan", request_id="update-2")
    assert [d.name for d in of_one] == ["b"]


@pytest.mark.parametrize("mebibytes", [1.6, 2.5, 4])
async def test_a_document_that_etcd_does_not_take_is_too_large_for_good(lab, mebibytes):
    with pytest.raises(TooLarge) as caught:
        await _write(lab.taskroll, lab, data={"text": "x" * int(mebibytes * 2**20)})
    assert not caught.value.retryable
    assert caught.value.code == "RefusedByCluster"


async def test_a_namespace_that_is_not_there_is_said(lab):
    with pytest.raises(NotFound, match='namespaces "nowhere-to-be-found" not found'):
        await write_document(lab.admin, "nowhere-to-be-found", type="plan", name="x", data={}, request_id=REQUEST)


# revisions


async def test_revisions_are_stored_and_read_back_by_digest(lab):
    contents = [lab.content(f"task-{n}", labels={"team": "x"}) for n in range(12)]
    contents.append(lab.content("task-1", kind="ExecutionDescriptor"))
    digests = {str(content.key): content.digest() for content in contents}
    assert await missing_revisions(lab.taskroll, lab.namespace, digests) == list(digests)

    assert await write_definition_revisions(lab.taskroll, lab.namespace, contents[:3], request_id=REQUEST) == 3
    assert await missing_revisions(lab.taskroll, lab.namespace, digests) == list(digests)[3:]
    assert await write_definition_revisions(lab.taskroll, lab.namespace, contents, request_id="update-2") == 10

    assert await missing_revisions(lab.taskroll, lab.namespace, digests) == []
    found = await read_definition_revisions(lab.taskroll, lab.namespace, digests)
    assert list(found.values()) == contents


async def test_looking_for_missing_revisions_reads_no_sources(lab):
    content = lab.content(sourceCode="QUFB" * 50_000)
    await write_definition_revision(lab.taskroll, lab.namespace, content, request_id=REQUEST)
    sizes = []

    async def after(_call, reply):
        sizes.append(len(reply.body))

    digests = {str(content.key): content.digest()}
    assert await missing_revisions(lab.interposed(after=after), lab.namespace, digests) == []
    assert max(sizes) < 5_000


async def _forge(lab, content, data):
    """Write what only an administrator could: the name of one revision over the content of another."""
    name = revision_name(content.key, content.digest())
    body = {"metadata": {"name": name, "labels": {"taskroll.dev/type": "definition"}}, "data": data, "revision": 1}
    await create_object(lab.admin, CONTROLLER_REVISION, lab.namespace, body, manager="mallory")


@pytest.mark.parametrize("forged", ["other source", "other name", "no definition"])
async def test_a_forged_revision_is_not_believed(lab, forged):
    content = lab.content(version="1")
    data = {
        "other source": lab.content(version="2").model_dump(mode="json"),
        "other name": lab.content("other").model_dump(mode="json"),
        "no definition": {"kind": "TaskDefinition"},
    }[forged]
    await _forge(lab, content, data)
    with pytest.raises(TamperedState, match=revision_name(content.key, content.digest())):
        await read_definition_revision(lab.taskroll, lab.namespace, content.key, content.digest())
    with pytest.raises(TamperedState):
        await write_definition_revision(lab.taskroll, lab.namespace, content, request_id=REQUEST)


# requests


def _request(lab, **changed):
    given = {
        "request_id": REQUEST,
        "namespace": lab.namespace,
        "requested_by": "ann",
        "reason": "why",
        "definitions": {"TaskDefinition/a": lab.content("a").digest()},
        "policy": UpdatePolicy(),
        **changed,
    }
    return SubmittedRequest(**given)


async def test_the_same_request_twice_is_one(lab):
    request = _request(lab)
    assert await submit_request(lab.taskroll, request) == "new"
    assert await submit_request(lab.taskroll, request) == "known"
    assert await submit_request(lab.taskroll, _request(lab, requested_by="bob", reason="too")) == "known"
    assert await read_request(lab.taskroll, lab.namespace, REQUEST) == request


@pytest.mark.parametrize(
    "other",
    [
        {"definitions": {"TaskDefinition/a": "sha256:" + "0" * 64}},
        {"delete": ["TaskDefinition/b"]},
        {"policy": UpdatePolicy(drain="refuse")},
    ],
    ids=["definitions", "delete", "policy"],
)
async def test_another_request_under_the_id_is_refused_with_both_digests(lab, other):
    first, second = _request(lab), _request(lab, **other)
    await submit_request(lab.taskroll, first)
    with pytest.raises(RequestConflict) as caught:
        await submit_request(lab.taskroll, second)
    assert (caught.value.known, caught.value.sent) == (first.digest(), second.digest())
    assert await read_request(lab.taskroll, lab.namespace, REQUEST) == first


async def test_of_two_requests_under_one_id_at_once_one_wins(lab):
    requests = [_request(lab, delete=[f"TaskDefinition/{n}"]) for n in range(6)]
    results = await asyncio.gather(*(submit_request(lab.taskroll, r) for r in requests), return_exceptions=True)
    assert results.count("new") == 1
    assert sum(isinstance(result, RequestConflict) for result in results) == 5


async def test_an_unknown_request_is_said_by_name(lab):
    with pytest.raises(UnknownUpdate, match="update-7"):
        await read_request(lab.taskroll, lab.namespace, "update-7")


# plans


async def _plan(lab, number: int = 1, **changed) -> Plan:
    content = lab.content(version="2")
    given = {
        "request_id": REQUEST,
        "number": number,
        "base_epoch": 0,
        "base": {},
        "changes": [await lab.change(content)],
        "closure": [str(content.key)],
        "depends_on": [],
        "task_classes": ["EncoderTask"],
        "services": [],
        "instances": [],
        **changed,
    }
    return Plan(**given)


async def test_a_plan_is_stored_whole(lab):
    await lab.create(
        lab.content(version="1"), ownerReferences=[{"apiVersion": "v1", "kind": "X", "name": "o", "uid": "u"}]
    )
    first, second = await _plan(lab), await _plan(lab, number=2)
    for plan in (first, second):
        assert await write_plan(lab.taskroll, lab.namespace, plan) == plan
    assert await read_plan(lab.taskroll, lab.namespace, plan_name(REQUEST, 1)) == first
    assert (await read_plan(lab.taskroll, lab.namespace, plan_name(REQUEST, 2))).digest() == second.digest()


async def test_the_plan_that_was_stored_first_stands_for_its_number(lab):
    first, second = await _plan(lab), await _plan(lab, warnings=["the second attempt saw more"])
    await write_plan(lab.taskroll, lab.namespace, first)
    assert await write_plan(lab.taskroll, lab.namespace, second) == first


async def test_a_plan_of_five_hundred_changes_fits(lab):
    content = lab.content("x" * 90)
    change = await lab.change(content, git_commit="c" * 40)
    changes = [change.model_copy(update={"name": f"{number:03}-{'x' * 86}"}) for number in range(500)]
    keys = [str(change.key) for change in changes]
    base = dict.fromkeys(keys, change.after)
    plan = await _plan(lab, changes=changes, closure=keys, depends_on=keys, base=base)
    assert await write_plan(lab.taskroll, lab.namespace, plan) == plan
