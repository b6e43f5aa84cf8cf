"""Record the histories that `test_replay.py` replays: ``python -m tests.workflows.record_histories``.

Run it when a release is made, and add the files: histories of earlier releases stay, since their updates may still run.
"""

import asyncio
import json
import os
import re
import tempfile
from pathlib import Path
from typing import Any

from taskroll import __version__
from taskroll.cluster.connection import Cluster
from taskroll.cluster.kubeconfig import ClusterSettings
from taskroll.cluster.manifests import install
from taskroll.devstack import DevStack
from taskroll.models.apps import AppSource
from taskroll.models.decision import DecisionInput
from tests.saga.replicas import TOKEN
from tests.saga.sources import BROKEN, library, unit
from tests.saga.stand_in_gateway import StandInGateway, stand_in_gateway
from tests.saga.test_approval import ASKING
from tests.saga.test_drain import ENCODER, RESTORE
from tests.saga.world import QUICK, TOKEN_VARIABLE, World, create_world, services_config

FOLDER = Path(__file__).parent / "histories"


async def record() -> None:
    os.environ[TOKEN_VARIABLE] = TOKEN
    with tempfile.TemporaryDirectory() as folder, DevStack(Path(folder)) as stack:
        async with await Cluster.connect(ClusterSettings(kubeconfig=str(stack.kubeconfig), context="admin")) as cluster:
            await install(cluster, "default")
        async with (
            create_world(stack, TOKEN_VARIABLE) as world,
            stand_in_gateway(world.namespace, world.api) as gateway,
        ):
            await world.with_services(services_config(TOKEN_VARIABLE, gateway_url=gateway.url))
            await world.start_worker()
            await world.replicas.start("gateway", 2)
            await world.replicas.start("dispatcher", 1)
            await _all(world)
            await _shut_down(world, gateway)


async def _all(world: World) -> None:
    await _save(world, "completed", (await world.update(library(1))).status.request_id)
    await _save(world, "no-change", (await world.update(library(1))).status.request_id)
    approved = await world.submit(library(2), policy=ASKING)
    await world.in_phase(approved, "awaiting-approval")
    await world.client.decide(approved, DecisionInput(decision="approved", by="anna"))
    await world.ended(approved)
    await _save(world, "approved", approved)
    await _save(world, "not-loadable", (await world.update([unit("EncoderTask", 3), BROKEN])).status.request_id)
    world.faults.fail("verify")
    await _save(world, "taken-back-after-verify", (await world.update(library(4))).status.request_id)
    hold = world.faults.hold("patch")
    cancelled = await world.submit(library(5))
    await hold.reached.wait()
    await world.handle(cancelled).cancel()
    await world.ended(cancelled)
    await _save(world, "cancelled-in-patch", cancelled)
    await world.create_instance("EncoderTask")
    overdue = await world.update(library(6), policy=QUICK.model_copy(update={"drain_timeout": 1.0}))
    await _save(world, "still-in-use", overdue.status.request_id)
    await world.delete_instance()
    await _save(world, "rollback", (await world.update([], target_release=1)).status.request_id)


async def _shut_down(world: World, gateway: StandInGateway) -> None:
    """Follows on `_all`: one of the two apps unregisters by itself, the other is stopped and comes back."""
    leaving, staying = await gateway.register(ENCODER), await gateway.register(ENCODER)
    policy = RESTORE.model_copy(update={"grace": 6.0})
    apps = [AppSource(id=app, source=ENCODER) for app in (leaving, staying)]
    request_id = await world.submit(library(7), policy=policy, apps=apps)
    await world.waiting(request_id, f"app {leaving}")
    await gateway.unregister(leaving)
    await world.ended(request_id)
    await _save(world, "apps-shut-down-and-restored", request_id)


async def _save(world: World, name: str, request_id: str) -> None:
    history = await world.handle(request_id).fetch_history()
    folder = FOLDER / __version__
    folder.mkdir(parents=True, exist_ok=True)
    recorded = _without_machine(json.loads(history.to_json()))
    (folder / f"{name}.json").write_text(json.dumps(recorded, indent=1, ensure_ascii=False) + "\n")


def _without_machine(value: Any) -> Any:
    """Leave out what tells of the machine it was recorded on: paths in stack traces, host names."""
    if isinstance(value, dict):
        return {
            key: "a worker" if key == "identity" else _without_machine(inner)
            for key, inner in value.items()
            if key != "stackTrace"
        }
    if isinstance(value, list):
        return [_without_machine(inner) for inner in value]
    if isinstance(value, str) and re.match(r"\d+@", value):
        # Process and host, in the name of a worker's sticky queue.
        return "a worker"
    return value


if __name__ == "__main__":
    asyncio.run(record())
