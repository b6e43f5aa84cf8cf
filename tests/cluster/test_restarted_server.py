"""An API server that has just started takes calls before it knows its roles: what it refuses then is no last word."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from taskroll.cluster.config_maps import read_config_map
from taskroll.cluster.connection import Cluster
from taskroll.cluster.errors import ClusterError, Forbidden, Unavailable
from taskroll.cluster.fence_state import FENCE_NAME
from taskroll.cluster.kubeconfig import ClusterSettings
from taskroll.cluster.manifests import DEV_FOLDERS, install
from taskroll.cluster.records import list_record_names
from taskroll.cluster.transport import Call, Reply, Transport
from taskroll.devstack import DevStack
from taskroll.devstack.progress import silent

READ = Call("read", "/api/v1/namespaces/shop/configmaps/taskroll-fence", "ConfigMap", "taskroll-fence")
WRITE = Call("create", "/api/v1/namespaces/shop/configmaps", "ConfigMap", "taskroll-fence", body={"data": {}})
RIGHTS = b'{"message": "configmaps is forbidden: User \\"taskroll\\" cannot get resource"}'
POLICY = b'{"message": "ValidatingAdmissionPolicy \'taskroll-state\' denied the request"}'


class Server:
    """Answers the call with each of these in turn, and says of itself whether it is ready."""

    def __init__(self, ready: int, *answers: Reply) -> None:
        self.ready, self.answers = ready, list(answers)
        self.asked: list[str] = []

    async def send(self, call: Call, seconds: float) -> Reply:
        self.asked.append(call.path)
        return Reply(self.ready, b"") if call.path == "/readyz" else self.answers.pop(0)

    async def close(self) -> None: ...


NO, YES = Reply(403, RIGHTS), Reply(200, b'{"kind": "ConfigMap"}')


@pytest.mark.parametrize("call", [READ, WRITE], ids=["read", "write"])
@pytest.mark.parametrize(
    ("server", "ends", "asked"),
    [
        (Server(500, NO), Unavailable, 2),
        (Server(403, NO), Unavailable, 2),
        (Server(200, NO, YES), None, 3),
        (Server(200, NO, NO), Forbidden, 3),
        (Server(200, Reply(403, POLICY)), Forbidden, 1),
    ],
    ids=["is starting", "does not even know who may ask", "has read its roles meanwhile", "means it", "a policy"],
)
async def test_a_refusal(call: Call, server: Server, ends: type[ClusterError] | None, asked: int) -> None:
    server = Server(server.ready, *server.answers)
    cluster = Cluster(server)
    if ends is None:
        assert await cluster.send(call) == {"kind": "ConfigMap"}
    else:
        with pytest.raises(ends, match="denied the request" if asked == 1 else "cannot get resource"):
            await cluster.send(call)
    assert len(server.asked) == asked


class Counting:
    """Counts what the server refuses."""

    def __init__(self, inner: Transport) -> None:
        self.inner = inner
        self.refused = 0

    async def send(self, call: Call, seconds: float) -> Reply:
        reply = await self.inner.send(call, seconds)
        self.refused += reply.status == 403 and call.path != "/readyz"
        return reply

    async def close(self) -> None:
        await self.inner.close()


async def test_a_server_that_is_killed_and_started_again_refuses_nothing_for_good(tmp_path: Path) -> None:
    stack = DevStack(tmp_path, components=["etcd", "kube-apiserver"], tell=silent)
    with stack as info:
        kubeconfig = str(info.kubeconfig)
        async with await Cluster.connect(ClusterSettings(kubeconfig=kubeconfig, context="admin")) as admin:
            await install(admin, "shop", folders=DEV_FOLDERS)
        async with await Cluster.connect(ClusterSettings(kubeconfig=kubeconfig, context="taskroll")) as cluster:
            cluster.transport = counting = Counting(cluster.transport)
            assert await read_config_map(cluster, "shop", FENCE_NAME) is None
            stack.stop_component("kube-apiserver", kill=True)
            starting = asyncio.create_task(asyncio.to_thread(stack.start_component, "kube-apiserver"))
            last = ""
            while not (starting.done() and last == "answered"):
                try:
                    await read_config_map(cluster, "shop", FENCE_NAME)
                    assert await list_record_names(cluster, "shop") == []
                    last = "answered"
                except Unavailable as error:
                    last = error.reason
            await starting
            assert counting.refused > 0, "else this has shown nothing"
