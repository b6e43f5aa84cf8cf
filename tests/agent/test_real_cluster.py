"""The same on a real API server: reads, the watch and what can happen to it."""

import asyncio
import threading
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from taskroll.devstack import DevStack
from taskroll_agent import Agent, AgentSettings, AgentThread
from taskroll_agent.cluster import KubeCluster
from taskroll_agent.contracts import (
    POINTER_NAME,
    ActivateRequest,
    DefinitionKey,
    PrepareRequest,
    ReleasePointer,
    revision_name,
)
from taskroll_agent.errors import ClusterForbidden, ClusterUnavailable, CorruptObject, NotInCluster
from taskroll_agent.memory_cluster import task_definition
from tests.agent.sources import source, version

StartOn = Callable[[AgentSettings], Awaitable[Agent]]
Reached = Callable[[Agent, int], Awaitable[None]]
Until = Callable[[Callable[[], Any]], Awaitable[Any]]
Activation = Callable[[ReleasePointer], ActivateRequest]


async def test_reads(kube: Any, root: str) -> None:
    cluster = KubeCluster(kube.settings())
    assert (await cluster.pointer()).absent
    pointer = kube.commit(source(root, 1), epoch=1)
    assert (await cluster.pointer()).pointer == pointer
    release = await cluster.release(pointer.release)
    assert release.content_digest() == pointer.content_digest
    ((key, digest),) = release.digests().items()
    content = await cluster.definition(DefinitionKey.parse(key), digest)
    assert content.digest() == digest
    assert content.source() == source(root, 1)[f"{root}.m.Task"].encode()
    await cluster.aclose()


async def test_a_source_of_half_a_megabyte_with_every_kind_of_character(kube: Any, root: str) -> None:
    cluster = KubeCluster(kube.settings())
    text = "class Task:\n    text = 'ä \\u2028 \U0001f600 \x7f'\n" + "# filler ÿ\n" * 40_000
    content = task_definition(f"{root}.m", "Task", text)
    content = content.model_copy(
        update={"metadata": content.metadata.model_copy(update={"annotations": {"a/b": 'quote " \\ \n ü'}})}
    )
    kube.store(revision_name(content.key, content.digest()), content.model_dump(mode="json"))
    assert await cluster.definition(content.key, content.digest()) == content
    await cluster.aclose()


async def test_what_is_not_what_its_name_promises(kube: Any, root: str) -> None:
    cluster = KubeCluster(kube.settings())
    good, other = (task_definition(f"{root}.m", name, f"class {name}: pass") for name in ("Task", "Other"))
    name = revision_name(good.key, good.digest())
    with pytest.raises(NotInCluster, match=f"TaskDefinition/task: revision {name} does not exist"):
        await cluster.definition(good.key, good.digest())
    kube.store(name, other.model_dump(mode="json"))
    with pytest.raises(CorruptObject, match="holds TaskDefinition/other"):
        await cluster.definition(good.key, good.digest())
    kube.store("taskroll-release-000001-x", {"epoch": 1, "secret": "do-not-show"})
    with pytest.raises(CorruptObject, match="is no release: request_id: Field required") as caught:
        await cluster.release("taskroll-release-000001-x")
    assert "do-not-show" not in str(caught.value)
    with pytest.raises(NotInCluster):
        await cluster.release("../../secrets/x")
    kube.move({"epoch": "1", "release": "x"})
    assert "its digest does not match its content" in str((await cluster.pointer()).problem)
    await cluster.aclose()


async def test_credentials_that_are_refused_are_not_tried_again(kube: Any) -> None:
    # With attempts up to this deadline the test would end by pytest's own.
    cluster = KubeCluster(kube.settings(kube_token="wrong", read_timeout=3600))
    with pytest.raises(ClusterForbidden, match="HTTP 401"):
        await cluster.pointer()
    await cluster.aclose()


async def test_a_certificate_that_is_not_trusted(kube: Any) -> None:
    cluster = KubeCluster(kube.settings(kube_ca_file=None, read_timeout=0.5))
    with pytest.raises(ClusterUnavailable, match="CERTIFICATE_VERIFY_FAILED"):
        await cluster.pointer()
    await cluster.aclose()
    cluster = KubeCluster(kube.settings(kube_ca_file=None, kube_insecure=True))
    assert (await cluster.pointer()).absent
    await cluster.aclose()


async def test_the_rights_that_the_readme_names_are_enough(
    kube: Any, root: str, start_on: StartOn, reached: Reached, tmp_path: Path
) -> None:
    rbac = f"/apis/rbac.authorization.k8s.io/v1/namespaces/{kube.namespace}"
    rules = [
        {"apiGroups": [""], "resources": ["configmaps"], "resourceNames": [POINTER_NAME], "verbs": ["list", "watch"]},
        {"apiGroups": ["apps"], "resources": ["controllerrevisions"], "verbs": ["get"]},
    ]
    kube.post(f"{kube.core}/serviceaccounts", {"metadata": {"name": "service"}})
    kube.post(f"{rbac}/roles", {"metadata": {"name": "taskroll-agent"}, "rules": rules})
    subject = {"kind": "ServiceAccount", "name": "service", "namespace": kube.namespace}
    role = {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "taskroll-agent"}
    kube.post(f"{rbac}/rolebindings", {"metadata": {"name": "x"}, "roleRef": role, "subjects": [subject]})

    def new_token() -> str:
        answer = kube.post(f"{kube.core}/serviceaccounts/service/token", {"spec": {"expirationSeconds": 600}})
        return answer["status"]["token"]

    file = tmp_path / "token"
    file.write_text(new_token() + "\n")
    kube.commit(source(root, 1), epoch=1)
    agent = await start_on(kube.settings(kube_token=None, kube_token_file=file))
    assert version(agent) == 1
    file.write_text("expired")
    with pytest.raises(ClusterForbidden):
        await agent.prepare(PrepareRequest(request_id="up", definitions={}))
    file.write_text(new_token())
    assert (await agent.prepare(PrepareRequest(request_id="up", definitions={}))).prepared
    kube.commit(source(root, 2), epoch=2)
    await reached(agent, 2)


async def test_the_watch_moves_replicas_and_a_restarted_one_comes_up_on_the_release(
    kube: Any, root: str, start_on: StartOn, reached: Reached
) -> None:
    first = await start_on(kube.settings())
    assert first.ready
    assert first.attest().epoch == 0
    kube.commit(source(root, 1), epoch=1)
    await reached(first, 1)
    second = await start_on(kube.settings())
    assert (second.attest().epoch, version(second)) == (1, 1)
    kube.commit(source(root, 2), epoch=2)
    await asyncio.gather(reached(first, 2), reached(second, 2))
    assert (version(first), version(second)) == (2, 2)
    third = await start_on(kube.settings())
    assert third.attest().content_digest == first.attest().content_digest
    assert third.attest(full=True).definitions == first.attest(full=True).definitions


async def test_in_a_thread_of_its_own(kube: Any, root: str) -> None:
    kube.commit(source(root, 1), epoch=1)
    agent = Agent(kube.settings())
    with AgentThread(agent):
        assert version(agent) == 1
        flipped = threading.Event()
        agent.registry.on_activate(lambda *_: flipped.set())
        kube.commit(source(root, 2), epoch=2)
        assert await asyncio.to_thread(flipped.wait, 10)
        assert version(agent) == 2
    agent.registry.close()


async def test_an_update_by_its_calls(
    kube: Any, root: str, start_on: StartOn, reached: Reached, activation: Activation
) -> None:
    kube.commit(source(root, 1), epoch=1)
    agent = await start_on(kube.settings())
    pointer = kube.write_release(source(root, 2), epoch=2, request_id="up")
    cluster = KubeCluster(kube.settings())
    change = (await cluster.release(pointer.release)).digests()
    await cluster.aclose()
    answer = await agent.prepare(PrepareRequest(request_id="up", definitions=dict(change)))
    assert answer.content_digest == pointer.content_digest
    assert version(agent) == 1
    kube.move(pointer.data())
    await reached(agent, 2)
    confirmed = await agent.activate(activation(pointer))
    assert (confirmed.epoch, confirmed.already_active) == (2, True)


async def test_the_pointer_edited_and_deleted_by_hand(kube: Any, root: str, start_on: StartOn, until: Until) -> None:
    pointer = kube.commit(source(root, 1), epoch=1)
    agent = await start_on(kube.settings())
    kube.move({**pointer.data(), "epoch": "7"})
    await until(lambda: agent.problem)
    assert "edited by hand" in str(agent.problem)
    kube.http.delete(f"{kube.core}/configmaps/{POINTER_NAME}").raise_for_status()
    await until(lambda: "is gone" in str(agent.problem))
    assert version(agent) == 1
    kube.move(pointer.data())
    await until(lambda: agent.problem is None)


async def test_two_hundred_definitions(kube: Any, root: str, start_on: StartOn, reached: Reached) -> None:
    def sources(changed: int) -> dict[str, str]:
        return {
            f"{root}.m{n}.Task{n}": f"class Task{n}:\n    version = {changed if n == 7 else 0}\n" + "# filler\n" * 300
            for n in range(200)
        }

    kube.commit(sources(0), epoch=1)
    agent = await start_on(kube.settings())
    assert len(agent.registry.active.generation) == 200
    kube.commit(sources(1), epoch=2)
    await reached(agent, 2)
    assert agent.registry.get("Task7").version == 1


# --- what happens to the connection


async def test_the_watch_is_dropped(kube: Any, root: str, start_on: StartOn, reached: Reached, proxy: Any) -> None:
    kube.commit(source(root, 1), epoch=1)
    agent = await start_on(kube.settings(kube_url=proxy.url, resync_interval=3600))
    for epoch in range(2, 5):
        proxy.drop()
        kube.commit(source(root, epoch), epoch=epoch)
        await reached(agent, epoch)
        assert version(agent) == epoch


async def test_the_api_server_is_away_for_a_while(
    kube: Any, root: str, start_on: StartOn, reached: Reached, proxy: Any, activation: Activation
) -> None:
    kube.commit(source(root, 1), epoch=1)
    agent = await start_on(kube.settings(kube_url=proxy.url, resync_interval=3600, read_timeout=0.5))
    port = await proxy.cut()
    with pytest.raises(ClusterUnavailable):
        await agent.prepare(PrepareRequest(request_id="up", definitions={}))
    kube.commit(source(root, 2), epoch=2)
    assert version(agent) == 1
    await proxy.open(port)
    await reached(agent, 2)


async def test_a_watch_that_falls_silent_is_made_up_for_by_the_re_reads(
    kube: Any, root: str, start_on: StartOn, reached: Reached, proxy: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    from taskroll_agent import kube_api

    monkeypatch.setattr(kube_api, "ATTEMPT_TIMEOUT", 0.5)
    kube.commit(source(root, 1), epoch=1)
    agent = await start_on(kube.settings(kube_url=proxy.url, resync_interval=0.2))
    original = KubeCluster._watch_into

    async def never(self: Any, heard: Any) -> None:
        await asyncio.Event().wait()

    monkeypatch.setattr(KubeCluster, "_watch_into", never)
    deaf = await start_on(kube.settings(kube_url=proxy.url, resync_interval=0.2))
    monkeypatch.setattr(KubeCluster, "_watch_into", original)
    proxy.silence()
    kube.commit(source(root, 2), epoch=2)
    proxy.speak()
    await asyncio.gather(reached(agent, 2), reached(deaf, 2))


async def test_a_silent_watch_is_given_up_and_made_anew(
    kube: Any, root: str, start_on: StartOn, until: Until, reached: Reached, proxy: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    from taskroll_agent import kube_api

    monkeypatch.setattr(kube_api, "WATCH_SILENCE", 0.3)
    kube.commit(source(root, 1), epoch=1)
    agent = await start_on(kube.settings(kube_url=proxy.url, resync_interval=3600))
    before = proxy.connections
    await until(lambda: proxy.connections > before)
    kube.commit(source(root, 2), epoch=2)
    await reached(agent, 2)


async def test_the_api_server_is_killed_and_started_again(
    root: str, start_on: StartOn, reached: Reached, make_kube: Any, tmp_path: Path
) -> None:
    stack = DevStack(tmp_path / "stack", components=["kube-apiserver"])
    info = await stack.astart()
    try:
        kube = make_kube(info, "restart", tmp_path)
        kube.commit(source(root, 1), epoch=1)
        agent = await start_on(kube.settings(resync_interval=3600))
        await asyncio.to_thread(stack.stop_component, "kube-apiserver", kill=True)
        assert version(agent) == 1
        await asyncio.to_thread(stack.start_component, "kube-apiserver")
        kube.commit(source(root, 2), epoch=2)
        await reached(agent, 2)
    finally:
        await stack.astop()
