"""Record the histories that `test_replay.py` replays: ``python -m tests.workflows.record_histories``.

Run it when a release is made, and add the files: histories of earlier releases stay, since their updates may still run.
"""

import asyncio
import base64
import contextlib
import json
import os
import re
import socket
import tempfile
from pathlib import Path
from typing import Any

from temporalio.client import WorkflowFailureError

from taskroll import __version__
from taskroll.cluster.connection import Cluster
from taskroll.cluster.kubeconfig import ClusterSettings
from taskroll.cluster.manifests import install
from taskroll.devstack import DevStack
from taskroll.models.apps import AppSource
from taskroll.models.decision import DecisionInput, ResumeInput
from taskroll.models.names import reconcile_workflow_id, recovery_workflow_id, workflow_id
from tests.saga.reconciling import reconcile, recovered
from tests.saga.replicas import TOKEN
from tests.saga.sources import BROKEN, library, unit
from tests.saga.stand_in_gateway import StandInGateway, stand_in_gateway
from tests.saga.test_approval import ASKING
from tests.saga.test_drain import ENCODER, RESTORE
from tests.saga.world import QUICK, TOKEN_VARIABLE, World, create_world, services_config

PROCESS = rf"\d+@{re.escape(socket.gethostname())}"
"""Process and host, as the SDK names itself."""
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
            await _recover(world)


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
    for app in list(gateway.apps):
        await gateway.unregister(app)


async def _recover(world: World) -> None:
    """What the reconciler finds and finishes; follows on a library of version 7."""
    dead = await _terminated(world, 8, "patch")
    await reconcile(world, "history")
    await recovered(world, dead)
    await _save_workflow(world, "reconcile-finds-a-dead-update", f"{reconcile_workflow_id(world.namespace)}/history")
    await _save_workflow(world, "recovery-takes-back", recovery_workflow_id(world.namespace, dead))
    committed = await _terminated(world, 8, "commit")
    await reconcile(world)
    await recovered(world, committed)
    await _save_workflow(world, "recovery-completes", recovery_workflow_id(world.namespace, committed))
    parked = await _terminated(world, 9, "patch")
    world.faults.fail("restore-definitions", code="ForeignWrite")
    await reconcile(world)
    while (await world.client.status(parked)).status.outcome != "needs_operator":
        await asyncio.sleep(0.1)
    await world.client.resume(parked, ResumeInput(by="operator"))
    await recovered(world, parked)
    await _save_workflow(world, "recovery-parked-and-resumed", recovery_workflow_id(world.namespace, parked))
    out_of_date = await world.submit(library(9), policy=ASKING)
    await world.in_phase(out_of_date, "awaiting-approval")
    await world.handle(out_of_date).signal("superseded", "the update is under way")
    with contextlib.suppress(WorkflowFailureError):
        await world.handle(out_of_date).result()
    await _save(world, "superseded", out_of_date)


async def _terminated(world: World, version: int, step: str) -> str:
    """An update whose workflow was terminated right after the step."""
    hold = world.faults.hold(step, "after")
    request_id = await world.submit(library(version))
    await hold.reached.wait()
    await world.handle(request_id).terminate(reason="a test")
    return request_id


async def _save(world: World, name: str, request_id: str) -> None:
    await _save_workflow(world, name, workflow_id(world.namespace, request_id))


async def _save_workflow(world: World, name: str, temporal_id: str) -> None:
    history = await world.temporal.get_workflow_handle(temporal_id).fetch_history()
    folder = FOLDER / __version__
    folder.mkdir(parents=True, exist_ok=True)
    recorded = _without_machine(json.loads(history.to_json()))
    (folder / f"{name}.json").write_text(json.dumps(recorded, indent=1, ensure_ascii=False) + "\n")


def _without_machine(value: Any) -> Any:
    """Leave out what tells of the machine it was recorded on: paths in stack traces, host names."""
    if isinstance(value, dict):
        return {
            key: "a worker"
            if key == "identity"
            else _payload_without_machine(inner)
            if key == "data" and isinstance(inner, str)
            else _without_machine(inner)
            for key, inner in value.items()
            if key != "stackTrace"
        }
    if isinstance(value, list):
        return [_without_machine(inner) for inner in value]
    if isinstance(value, str) and re.search(PROCESS, value):
        # In the name of a worker's sticky queue.
        return "a worker"
    return value


def _payload_without_machine(data: str) -> str:
    """Who terminated a workflow stands in the input and the messages of its recovery."""
    text = base64.b64decode(data).decode()
    return base64.b64encode(re.sub(PROCESS, "somebody", text).encode()).decode()


if __name__ == "__main__":
    asyncio.run(record())
