"""200 swaps in a row of one process, on the real API server and over HTTP, while it calls its tasks."""

import os
import statistics
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from taskroll_agent import API_PREFIX
from taskroll_agent.contracts import Attestation, Census
from tests.agent.sources import make_revisions
from tests.agent.test_freed import rich

SWAPS = 200
MOST_GROWTH = 8 * 1024 * 1024
"""Bytes between the medians of swaps 50 to 100 and 150 to 200. It was 1.2 MB; 18 MB where each generation was kept."""

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform != "linux", reason="memory and file descriptors are read from /proc"),
]


@pytest.fixture
def process(kube: Any, root: str) -> Iterator[subprocess.Popen[str]]:
    settings = kube.settings()
    names = ("namespace", "kube_url", "kube_ca_file", "kube_token", "token")
    environment = {f"TASKROLL_AGENT_{name.upper()}": str(getattr(settings, name)) for name in names}
    kube.commit(rich(root, 1), epoch=1)
    with subprocess.Popen(
        [sys.executable, "-m", "tests.agent.swapped_process"],
        env={**os.environ, **environment},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as started:
        yield started
        assert started.stdin is not None
        started.stdin.close()
        assert started.wait(30) == 0


def test_memory_and_descriptors_stay(
    process: subprocess.Popen[str], kube: Any, root: str, record_property: Any
) -> None:
    assert process.stdout is not None
    port = int(process.stdout.readline())
    memory: list[int] = []
    descriptors: list[int] = []
    with httpx.Client(
        base_url=f"http://127.0.0.1:{port}{API_PREFIX}", headers={"Authorization": "Bearer secret"}, timeout=60
    ) as client:
        for epoch in range(2, SWAPS + 2):
            sources, request_id = rich(root, epoch), f"up-{epoch}"
            pointer = kube.write_release(sources, epoch=epoch, request_id=request_id)
            changed = {key: revision.digest for key, revision in make_revisions(sources).items()}
            answer = client.post("/prepare", json={"request_id": request_id, "definitions": changed})
            assert answer.json()["prepared"], answer.text
            kube.move(pointer.data())
            client.post("/activate", json=pointer.model_dump()).raise_for_status()
            attested = Attestation.model_validate_json(client.get("/attestation").content)
            assert (attested.epoch, attested.content_digest) == (epoch, pointer.content_digest)
            assert attested.memory_bytes is not None
            memory.append(attested.memory_bytes)
            descriptors.append(len(list(Path(f"/proc/{process.pid}/fd").iterdir())))
        census = Census.model_validate_json(client.get("/census", params={"collect": "true"}).content)
        attested = Attestation.model_validate_json(client.get("/attestation").content)
    early, late = statistics.median(memory[49:100]), statistics.median(memory[149:200])
    growth = (late - early) / 1024 / 1024
    record_property("memory_growth_mb", growth)
    print(f"{SWAPS} swaps: {early / 1024 / 1024:.1f} MB, then {growth:+.1f} MB; {descriptors[-1]} file descriptors")
    assert late - early < MOST_GROWTH
    assert max(descriptors[149:200]) <= max(descriptors[49:100])
    assert (census.complete, census.generations) == (True, [])
    assert [one.current for one in attested.standing] == [True]
