"""Finding the cluster, and what happens when it cannot be reached."""

from __future__ import annotations

import asyncio
import base64
import os
import socket
import subprocess
import sys
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import yaml
from kubernetes.aio.config import incluster_config

from taskroll.cluster import kubeconfig
from taskroll.cluster.connection import Cluster
from taskroll.cluster.definitions import list_definitions
from taskroll.cluster.errors import ClusterError, Forbidden, NotConfigured, Unavailable
from taskroll.cluster.kubeconfig import ClusterSettings
from taskroll.cluster.transport import Call, Reply


@pytest.fixture
def no_settings(monkeypatch, tmp_path) -> Path:
    """A machine on which nothing says where a cluster is."""
    monkeypatch.delenv("KUBECONFIG", raising=False)
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)
    monkeypatch.setattr(kubeconfig, "DEFAULT_KUBECONFIG", str(tmp_path / "none" / "config"))
    return tmp_path


def _write(path: Path, *contexts: str, current: str = "", server: str = "http://127.0.0.1:1") -> Path:
    content = {
        "clusters": [{"name": "c", "cluster": {"server": f"{server}/{path.stem}"}}],
        "users": [{"name": "u", "user": {"token": "t"}}],
        "contexts": [{"name": name, "context": {"cluster": "c", "user": "u"}} for name in contexts],
        "current-context": current,
    }
    path.write_text(yaml.safe_dump(content))
    return path


async def test_reaches_the_server(stack):
    settings = ClusterSettings(kubeconfig=str(stack.kubeconfig), context="developer")
    async with await Cluster.connect(settings) as cluster:
        assert (await cluster.check_reachable()).startswith("v1.")
        assert cluster.server == stack.kube_url


async def test_the_environment_names_the_kubeconfig(stack, no_settings, monkeypatch):
    monkeypatch.setenv("KUBECONFIG", str(stack.kubeconfig))
    async with await Cluster.connect() as cluster:
        assert cluster.server == stack.kube_url


async def test_several_kubeconfigs_are_merged_and_the_first_current_context_counts(no_settings, monkeypatch):
    first = _write(no_settings / "first.yaml", "one")
    second = _write(no_settings / "second.yaml", "two", current="two")
    third = _write(no_settings / "third.yaml", "three", current="three")
    missing = no_settings / "missing.yaml"
    monkeypatch.setenv("KUBECONFIG", os.pathsep.join(map(str, [missing, first, second, third])))
    async with await Cluster.connect() as cluster:
        assert cluster.server.endswith("/first"), "two's cluster is called c, and the first c counts"
    async with await Cluster.connect(ClusterSettings(context="three")) as cluster:
        assert cluster.server.endswith("/first")
    separate = os.pathsep.join(map(str, [second, first]))
    async with await Cluster.connect(ClusterSettings(kubeconfig=separate, context="one")) as cluster:
        assert cluster.server.endswith("/second")


@pytest.mark.parametrize(
    ("settings", "environment", "said"),
    [
        ({}, "", "no kubeconfig at .*none/config .the default, as .KUBECONFIG is not set., and this is no pod"),
        ({}, "nowhere.yaml", "no kubeconfig at nowhere.yaml .*KUBECONFIG names it"),
        ({"kubeconfig": "/nowhere"}, "", "no kubeconfig at /nowhere .the settings name it"),
        ({"context": "other"}, "{good}", "context 'other' of .* cannot be used: .*; known contexts: one"),
        ({}, "{without}", "no current-context in .*: name a context; known contexts: one"),
        ({}, "{broken}", "cannot be read"),
    ],
    ids=["nothing", "environment", "settings", "no such context", "no current context", "not YAML"],
)
async def test_a_cluster_that_is_not_named_is_a_clear_error(no_settings, monkeypatch, settings, environment, said):
    paths = {
        "good": _write(no_settings / "good.yaml", "one", current="one"),
        "without": _write(no_settings / "without.yaml", "one"),
        "broken": no_settings / "broken.yaml",
    }
    paths["broken"].write_text("a: [")
    if environment:
        monkeypatch.setenv("KUBECONFIG", environment.format(**paths))
    with pytest.raises(NotConfigured, match=said):
        await Cluster.connect(ClusterSettings(**settings))


_ENTRY = {
    "clusters": [{"name": "c", "cluster": {"server": "https://127.0.0.1:1"}}],
    "users": [{"name": "u", "user": {"token": "t"}}],
    "contexts": [{"name": "one", "context": {"cluster": "c", "user": "u"}}],
    "current-context": "one",
}


def _with_authority(text: bytes) -> str:
    cluster = {"server": "https://127.0.0.1:1", "certificate-authority-data": base64.b64encode(text).decode()}
    return yaml.safe_dump({**_ENTRY, "clusters": [{"name": "c", "cluster": cluster}]})


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("garbage: [", "cannot be read: while parsing a flow node .*; correct it, or name another file: --kubeconfig"),
        ("", "is empty; correct it, or name another file"),
        ("only words", "has not the form of a kubeconfig; correct it"),
        (None, "cannot be read: .*Is a directory.*; correct it"),
        (
            yaml.safe_dump({**_ENTRY, "clusters": [{}]}),
            "context 'one' of .* cannot be used: .*'name' key",
        ),
        (yaml.safe_dump({**_ENTRY, "users": 5}), "has not the form of a kubeconfig .*: see `kubectl config view`"),
        (_with_authority(b"no certificate"), "certificates or key of context 'one' of .* cannot be used"),
    ],
    ids=["not YAML", "empty", "no mapping", "a folder", "an entry without name", "no list", "no certificate"],
)
@pytest.mark.parametrize("context", [None, "one"])
async def test_a_kubeconfig_that_cannot_be_used_is_named(tmp_path, content, said, context):
    path = tmp_path / "kubeconfig"
    if content is None:
        path.mkdir()
    else:
        path.write_text(content)
    with pytest.raises(NotConfigured, match=said) as caught:
        await Cluster.connect(ClusterSettings(kubeconfig=str(path), context=context))
    assert str(path) in caught.value.message
    assert "\n" not in caught.value.message


async def test_a_pod_uses_its_service_account(stack, no_settings, monkeypatch, tmp_path):
    config = yaml.safe_load(stack.kubeconfig.read_text())
    user = next(item["user"] for item in config["users"] if item["name"] == "developer")
    token, ca = tmp_path / "token", tmp_path / "ca.crt"
    token.write_text(user["token"])
    ca.write_bytes(base64.b64decode(config["clusters"][0]["cluster"]["certificate-authority-data"]))
    host, port = stack.kube_url.removeprefix("https://").split(":")
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", host)
    monkeypatch.setenv("KUBERNETES_SERVICE_PORT", port)
    monkeypatch.setattr(incluster_config, "SERVICE_TOKEN_FILENAME", str(token))
    monkeypatch.setattr(incluster_config, "SERVICE_CERT_FILENAME", str(ca))
    async with await Cluster.connect() as cluster:
        assert cluster.server == stack.kube_url
        assert (await cluster.check_reachable()).startswith("v1.")
    token.write_text("")
    with pytest.raises(NotConfigured, match="the pod's service account cannot be used"):
        await Cluster.connect()
    token.unlink()
    with pytest.raises(NotConfigured, match="this is no pod"):
        await Cluster.connect()


@asynccontextmanager
async def _server(handle):
    """A listener on a free port; handle(reader, writer)."""
    server = await asyncio.start_server(handle, "127.0.0.1", 0)
    try:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    finally:
        server.close()


async def _hang(reader, _writer):
    await reader.read()


async def _hang_up(_reader, writer):
    writer.close()


async def _half_an_answer(reader, writer):
    await reader.readuntil(b"\r\n\r\n")
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{")
    await writer.drain()
    writer.close()


async def _no_http(reader, writer):
    await reader.readuntil(b"\r\n\r\n")
    writer.write(b"SSH-2.0-OpenSSH\r\n\r\n")
    await writer.drain()
    writer.close()


@pytest.mark.parametrize("handle", [_hang, _hang_up, _half_an_answer, _no_http], ids=lambda f: f.__name__.strip("_"))
async def test_a_server_that_does_not_answer_is_unavailable(tmp_path, handle):
    async with _server(handle) as address:
        path = _write(tmp_path / "k.yaml", "one", current="one", server=address)
        settings = ClusterSettings(kubeconfig=str(path), request_timeout=0.2)
        async with await Cluster.connect(settings) as cluster:
            with pytest.raises(Unavailable) as caught:
                await list_definitions(cluster, "x")
    assert caught.value.retryable
    assert caught.value.__cause__ is not None
    assert "cannot be reached" in caught.value.message


async def test_a_port_that_nobody_listens_on_is_unavailable(tmp_path):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        address = f"https://127.0.0.1:{taken.getsockname()[1]}"
        path = _write(tmp_path / "k.yaml", "one", current="one", server=address)
        async with await Cluster.connect(ClusterSettings(kubeconfig=str(path))) as cluster:
            with pytest.raises(Unavailable, match="read version: the API server cannot be reached"):
                await cluster.check_reachable()


async def test_a_certificate_that_is_not_trusted_is_unavailable(stack, tmp_path):
    path = _write(tmp_path / "k.yaml", "one", current="one", server=stack.kube_url)
    async with await Cluster.connect(ClusterSettings(kubeconfig=str(path))) as cluster:
        with pytest.raises(Unavailable, match="certificate"):
            await cluster.check_reachable()


async def test_an_answer_that_is_no_json_is_an_error(lab):
    class Odd:
        async def send(self, call, seconds):
            return Reply(200, b"<html>")

    with pytest.raises(ClusterError, match="the answer is no JSON"):
        await Cluster(Odd()).check_reachable()


async def test_credentials_that_are_not_accepted_are_read_again_once(stack, lab, tmp_path):
    config = yaml.safe_load(stack.kubeconfig.read_text())
    good = {item["name"]: item["user"]["token"] for item in config["users"]}["taskroll"]
    user = next(item["user"] for item in config["users"] if item["name"] == "taskroll")
    path = tmp_path / "k.yaml"

    def write(token: str) -> None:
        user["token"] = token
        path.write_text(yaml.safe_dump(config))

    write("expired")
    async with await Cluster.connect(ClusterSettings(kubeconfig=str(path), context="taskroll")) as cluster:
        with pytest.raises(Forbidden) as caught:
            await list_definitions(cluster, lab.namespace)
        assert caught.value.status == 401
        write(good)
        assert await list_definitions(cluster, lab.namespace) == {}


class _Slow:
    """Answers a write when told to."""

    def __init__(self) -> None:
        self.started, self.go_on = asyncio.Event(), asyncio.Event()
        self.finished = False

    async def send(self, call: Call, seconds: float) -> Reply:
        self.started.set()
        await self.go_on.wait()
        self.finished = True
        return Reply(200, b"{}")


async def test_a_write_that_has_started_is_not_cancelled_half_way():
    slow = _Slow()
    sending = asyncio.create_task(Cluster(slow).send(Call("replace", "/x", "Thing", "a", body={})))
    await slow.started.wait()
    for _ in range(3):
        sending.cancel()
        for _ in range(3):
            await asyncio.sleep(0)
        assert not sending.done()
    slow.go_on.set()
    with pytest.raises(asyncio.CancelledError):
        await sending
    assert slow.finished


async def test_a_read_is_cancelled_at_once():
    slow = _Slow()
    sending = asyncio.create_task(Cluster(slow).send(Call("read", "/x", "Thing", "a")))
    await slow.started.wait()
    sending.cancel()
    with pytest.raises(asyncio.CancelledError):
        await sending
    assert not slow.finished


async def test_the_server_gives_up_a_write_no_later_than_taskroll(lab):
    cluster = lab.interposed()
    await cluster.send(
        Call(
            "create",
            "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews",
            "Review",
            body={"spec": {"resourceAttributes": {"verb": "get"}}},
        )
    )
    assert cluster.transport.calls[0].query == {"timeout": "9s"}
    await list_definitions(cluster, lab.namespace)
    assert "timeout" not in cluster.transport.calls[1].query


def test_importing_all_of_it_does_not_import_the_kubernetes_package():
    """It takes 0.4 s, and `taskroll --help` has 0.3 s."""
    code = (
        "import sys, pkgutil, importlib, taskroll.cluster as c\n"
        "for m in pkgutil.iter_modules(c.__path__): importlib.import_module(f'taskroll.cluster.{m.name}')\n"
        "print([n for n in ('kubernetes', 'aiohttp', 'temporalio') if n in sys.modules])"
    )
    root = Path(kubeconfig.__file__).parents[2]
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=root, env={**os.environ}
    )
    assert done.stdout.strip() == "[]"
