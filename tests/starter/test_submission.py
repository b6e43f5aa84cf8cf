"""Submitting: safe to repeat at every point, and refused before anything is written."""

import asyncio
import base64
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import pytest

from starter import cluster_connection
from starter.client import TaskrollClient, open_client
from starter.submission import MAX_DEFINITION_BYTES, Submission, unfit
from taskroll.cluster.revisions import write_definition_revisions
from taskroll.models.errors import InvalidRequest, RequestConflict, ServiceUnavailable, UnknownRelease, UnknownUpdate
from taskroll.models.provenance import GitProvenance
from taskroll.models.request import UpdateRequest
from taskroll_agent.contracts import DefinitionContent, Metadata
from workflows.search_attributes import COMMIT, DEFINITIONS, NAMESPACE, PHASE, REQUESTED_BY

from .place import Place


def definition(name: str = "echo", source: str = "class Echo: ...\n", **metadata: Any) -> DefinitionContent:
    spec = {
        "taskClassName": name.capitalize(),
        "moduleName": f"probe.{name}",
        "sourceCode": base64.b64encode(source.encode()).decode(),
        "isUnitTask": True,
    }
    return DefinitionContent(kind="TaskDefinition", name=name, spec=spec, metadata=Metadata(**metadata))


def request(client: TaskrollClient, request_id: str = "one", **more: Any) -> UpdateRequest:
    wanted = {} if "target_release" in more else {"definitions": [definition()]}
    return UpdateRequest.model_validate(
        {"request_id": request_id, "namespace": client.settings.namespace, "requested_by": "tester", **wanted, **more}
    )


@asynccontextmanager
async def clients(place: Place, count: int) -> AsyncIterator[list[TaskrollClient]]:
    async with AsyncExitStack() as exits:
        yield [await exits.enter_async_context(open_client(place.settings)) for _ in range(count)]


async def test_eight_clients_at_once_start_one_update(idle_place: Place) -> None:
    async with clients(idle_place, 8) as many:
        answers = await asyncio.gather(*(each.submit(request(each)) for each in many))
        assert sum(answer.is_new for answer in answers) == 1
        assert len({answer.digest for answer in answers}) == 1
        assert len((await many[0].list_updates()).updates) == 1


async def test_of_two_different_requests_at_once_one_wins(idle_place: Place) -> None:
    async with clients(idle_place, 2) as (one, other):
        different = request(other, definitions=[definition(source="class Echo: x = 1\n")])
        answers = await asyncio.gather(one.submit(request(one)), other.submit(different), return_exceptions=True)
        won = [answer for answer in answers if isinstance(answer, Submission)]
        lost = [answer for answer in answers if isinstance(answer, RequestConflict)]
        assert (len(won), len(lost)) == (1, 1), answers
        assert lost[0].known == won[0].digest
        assert {lost[0].known, lost[0].sent} == {request(one).submitted().digest(), different.submitted().digest()}


async def test_who_asks_and_why_do_not_make_another_request(idle_client: TaskrollClient) -> None:
    first = await idle_client.submit(request(idle_client, reason="first"))
    again = await idle_client.submit(request(idle_client, reason="again", requested_by="somebody else"))
    assert (first.is_new, again.is_new, again.digest) == (True, False, first.digest)
    stored = await idle_client.cluster.request("one")
    assert stored is not None
    assert (stored.requested_by, stored.reason) == ("tester", "first")


async def test_a_client_that_dies_before_the_start_is_followed_by_one_that_starts(
    idle_client: TaskrollClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def die(*_: Any, **__: Any) -> None:
        raise ServiceUnavailable("died here")

    temporal = await idle_client.temporal.client()
    with monkeypatch.context() as patched:
        patched.setattr(temporal, "start_workflow", die)
        with pytest.raises(ServiceUnavailable, match="died here"):
            await idle_client.submit(request(idle_client))
    with pytest.raises(UnknownUpdate, match=r"never started.*--request-id one"):
        await idle_client.status("one")
    with pytest.raises(RequestConflict):
        await idle_client.submit(request(idle_client, delete=["TaskDefinition/other"]))
    again = await idle_client.submit(request(idle_client))
    assert not again.is_new
    described = await temporal.get_workflow_handle(again.workflow_id).describe()
    assert described.run_id


async def test_a_client_that_dies_between_the_sources_and_the_request_leaves_the_id_free(
    idle_client: TaskrollClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def die(_: Any) -> bool:
        raise ServiceUnavailable("died here")

    with monkeypatch.context() as patched:
        patched.setattr(idle_client.cluster, "submit_request", die)
        with pytest.raises(ServiceUnavailable):
            await idle_client.submit(request(idle_client))
    with pytest.raises(UnknownUpdate, match="there is no update 'one'"):
        await idle_client.status("one")
    assert await idle_client.cluster.write_missing_revisions(request(idle_client)) == 0, "the sources were sent"
    assert (await idle_client.submit(request(idle_client))).is_new


async def test_only_sources_that_are_missing_are_sent(
    idle_client: TaskrollClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent: list[str] = []

    async def write(*arguments: Any, **more: Any) -> int:
        sent.extend(content.name for content in arguments[2])
        return await write_definition_revisions(*arguments, **more)

    monkeypatch.setattr(cluster_connection, "write_definition_revisions", write)
    first, second = definition("echo"), definition("shout", "class Shout: ...\n")
    await idle_client.submit(request(idle_client, "one", definitions=[first]))
    await idle_client.submit(request(idle_client, "two", definitions=[first, second]))
    await idle_client.submit(request(idle_client, "two", definitions=[first, second]))
    assert sent == ["echo", "shout"]


async def test_an_update_that_has_ended_is_not_started_again_when_temporal_has_lost_it(
    place: Place, client: TaskrollClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    await client.submit(request(client))
    ended = await client.wait("one")
    assert ended.status.outcome == "completed", ended.status.message
    # Another namespace of Temporal is what a Temporal whose data is gone looks like from here.
    monkeypatch.setenv("TEMPORAL_NAMESPACE", "temporal-system")
    async with open_client(place.settings) as elsewhere:
        again = await elsewhere.submit(request(elsewhere))
        assert (again.is_new, again.ended and again.ended.outcome) == (False, "completed")
        view = await elsewhere.status("one")
    assert (view.execution, view.notice, view.status.outcome, view.status.epoch) == ("recorded", None, "completed", 1)
    assert [step.name for step in view.status.steps] == [step.name for step in ended.status.steps]


async def test_a_terminated_update_is_not_started_again(idle_client: TaskrollClient) -> None:
    submitted = await idle_client.submit(request(idle_client))
    handle = (await idle_client.temporal.client()).get_workflow_handle(submitted.workflow_id)
    before = await handle.describe()
    await handle.terminate("by hand")
    again = await idle_client.submit(request(idle_client))
    after = await handle.describe()
    assert (again.is_new, after.run_id, after.close_time is None) == (False, before.run_id, False)


async def test_what_the_web_ui_shows(idle_client: TaskrollClient) -> None:
    git = GitProvenance(commit="a" * 40, branch="main", dirty=True, subject="make it *louder*")
    submitted = await idle_client.submit(
        request(idle_client, reason="louder", git=git, delete=["TaskDefinition/old-task"])
    )
    temporal = await idle_client.temporal.client()
    described = await temporal.get_workflow_handle(submitted.workflow_id).describe()
    attributes = described.typed_search_attributes
    assert attributes[PHASE] == "planning"
    assert attributes[DEFINITIONS] == ["echo", "old-task"]
    assert attributes[REQUESTED_BY] == "tester"
    assert attributes[COMMIT] == "a" * 40
    assert attributes[NAMESPACE] == idle_client.settings.namespace
    assert await described.static_summary() == "louder · 1 definitions, 1 deletions"
    details = await described.static_details() or ""
    assert "- `TaskDefinition/old-task` (delete)" in details
    assert "make it \\*louder\\*" in details
    assert described.raw_description.execution_config.workflow_execution_timeout.ToSeconds() == 0
    assert described.raw_description.execution_config.workflow_run_timeout.ToSeconds() == 0


async def test_many_long_names_still_start(idle_client: TaskrollClient) -> None:
    names = [f"{number:03d}-{'x' * 90}" for number in range(200)]
    keys = [f"TaskDefinition/{name}" for name in names]
    submitted = await idle_client.submit(request(idle_client, definitions=[], delete=keys))
    assert submitted.is_new


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (definition(source="x" * (MAX_DEFINITION_BYTES + 1)), "over the limit"),
        (definition(source="x\0"), "NUL byte"),
        (definition("../etc/passwd"), "bad-resource-name"),
        (definition().model_copy(update={"spec": {**definition().spec, "moduleName": "a/../b"}}), "bad-module-name"),
        (definition().model_copy(update={"spec": {**definition().spec, "sourceCode": "%"}}), "base64"),
        (definition(annotations={"taskroll.dev/git-commit": "x"}), "taskroll's own"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
async def test_unfit_definitions_are_refused_before_anything_is_written(
    idle_client: TaskrollClient, content: DefinitionContent, said: str
) -> None:
    assert any(said in finding for finding in unfit(content)), unfit(content)
    with pytest.raises(InvalidRequest) as refused:
        await idle_client.submit(request(idle_client, definitions=[content]))
    assert any(said in detail for detail in refused.value.details)
    assert await idle_client.cluster.request("one") is None


async def test_a_request_for_another_namespace_is_refused(idle_client: TaskrollClient) -> None:
    with pytest.raises(InvalidRequest, match="namespace: the request is for 'elsewhere'"):
        await idle_client.submit(request(idle_client, namespace="elsewhere"))


async def test_an_unknown_release_is_refused_before_the_id_is_taken(idle_client: TaskrollClient) -> None:
    with pytest.raises(UnknownRelease):
        await idle_client.submit(request(idle_client, target_release=7))
    with pytest.raises(UnknownRelease):
        await idle_client.rollback("one", requested_by="tester")
    assert await idle_client.cluster.request("one") is None


async def test_a_rollback_under_the_id_of_an_update_is_a_conflict(client: TaskrollClient) -> None:
    for request_id, source in (("one", "class Echo: ...\n"), ("two", "class Echo: x = 1\n")):
        await client.submit(request(client, request_id, definitions=[definition(source=source)]))
        await client.wait(request_id)
    with pytest.raises(RequestConflict) as refused:
        await client.rollback("one", requested_by="tester")
    assert refused.value.known != refused.value.sent
