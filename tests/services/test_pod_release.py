"""Which release a pod has read, told from its age: a table of moments around two releases and an update taken back."""

import json
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from taskroll.cluster.connection import Cluster
from taskroll.cluster.transport import Call, Reply
from taskroll.services.pod_release import PodReleases
from taskroll.services.replica import Replica
from taskroll_agent.contracts import Release, ReleasePointer, release_name

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)


def at(seconds: int) -> datetime:
    return NOON + timedelta(seconds=seconds)


def revision(name: str, second: int, type: str, request_id: str, data: Any) -> dict[str, Any]:
    labels = {"taskroll.dev/type": type, "taskroll.dev/request": request_id}
    created = at(second).strftime("%Y-%m-%dT%H:%M:%SZ")
    return {"metadata": {"name": name, "labels": labels, "creationTimestamp": created}, "data": data}


@dataclass
class Stored:
    """A transport that knows releases 1 (at noon), 2 (after 100 s) and, if taken back, 3 (after 200 s)."""

    taken_back: bool

    def releases(self) -> list[tuple[int, Release]]:
        said = [("one", "update"), ("two", "update"), ("two", "compensation")][: 3 if self.taken_back else 2]
        chain: list[tuple[int, Release]] = []
        for number, (request_id, origin) in enumerate(said):
            before = chain[-1][1] if chain else None
            fields = {
                "epoch": number + 1,
                "request_id": request_id,
                "origin": origin,
                "previous": release_name(before.epoch, before.request_id) if before else None,
                "created_at": NOON,
                "requested_by": "tester",
                "reason": "",
                "definitions": {},
            }
            chain.append((100 * number, Release.model_validate(fields)))
        return chain

    async def send(self, call: Call, seconds: float) -> Reply:
        newest = self.releases()[-1][1]
        name = release_name(newest.epoch, newest.request_id)
        answers: dict[str, Any] = {
            release_name(release.epoch, release.request_id): revision(
                release_name(release.epoch, release.request_id),
                second,
                "release",
                release.request_id,
                release.model_dump(mode="json"),
            )
            for second, release in self.releases()
        }
        pointer = ReleasePointer(
            epoch=newest.epoch, release=name, request_id="two", content_digest=newest.content_digest()
        )
        answers["taskroll-release"] = {"metadata": {"name": "taskroll-release"}, "data": pointer.data()}
        plans = {"items": [revision("plan", 90, "plan", "two", {})]}
        answer = plans if call.name is None else answers[call.name]
        return Reply(200, json.dumps(answer).encode())

    async def close(self) -> None: ...


ROWS = [
    ("made after the newest", False, 101, 105, 0, 2),
    ("in its second, restarted for it", False, 100, 105, 2, 2),
    ("in its second, by itself", False, 100, 105, 0, 1),
    ("in its second, with a number copied from elsewhere", False, 100, 105, 57, 1),
    ("before it", False, 50, 60, 0, 1),
    ("before all", False, -5, 1, 0, None),
    ("made after the way back", True, 201, 205, 3, 3),
    ("made for what was taken back", True, 150, 160, 2, 2),
    ("ready before the update had a plan", True, 50, 89, 0, 3),
    ("ready in the second of the plan", True, 50, 90, 0, 1),
    ("started before the plan, ready after it", True, 88, 95, 0, 1),
    ("not ready", True, 50, None, 0, 1),
    ("older than the release before", True, -5, 1, 0, None),
]


@pytest.mark.parametrize(
    ("taken_back", "created", "ready", "restarted_for", "epoch"), [r[1:] for r in ROWS], ids=[r[0] for r in ROWS]
)
async def test_which_release_a_pod_has_read(
    taken_back: bool, created: int, ready: int | None, restarted_for: int, epoch: int | None
) -> None:
    pod = Replica(
        service="gateway",
        pod="p",
        pod_uid="u",
        address=None,
        port=None,
        ready=ready is not None,
        created_at=at(created),
        ready_since=None if ready is None else at(ready),
        restarted_for=restarted_for,
    )
    found = await PodReleases(Cluster(Stored(taken_back)), "ns").of(pod)
    assert (found.release.epoch if found else None) == epoch
