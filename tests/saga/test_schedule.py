"""The schedule of the reconciler, as each worker keeps it at its start."""

from datetime import timedelta

import pytest
from temporalio.service import RPCError

from taskroll.models.names import reconcile_workflow_id
from worker.schedule import keep_schedules
from worker.settings import WorkerSettings

from .reconciling import scheduled
from .world import World


async def test_a_later_worker_brings_its_settings_and_leaves_a_pause_alone(bare_world: World) -> None:
    world = bare_world
    handle = world.temporal.get_schedule_handle(reconcile_workflow_id(world.namespace))
    async with scheduled(world, 3600):
        await handle.pause(note="maintenance")
        later = WorkerSettings(task_queue="another", reconcile_namespaces=(world.namespace,), reconcile_interval=1800)
        await keep_schedules(world.temporal, later)
        schedule = (await handle.describe()).schedule
        assert [interval.every for interval in schedule.spec.intervals] == [timedelta(seconds=1800)]
        assert (schedule.state.paused, schedule.state.note) == (True, "maintenance")


async def test_no_interval_no_schedule(bare_world: World) -> None:
    world = bare_world
    none = WorkerSettings(task_queue="none", reconcile_namespaces=(world.namespace,), reconcile_interval=0)
    await keep_schedules(world.temporal, none)
    with pytest.raises(RPCError, match="not found"):
        await world.temporal.get_schedule_handle(reconcile_workflow_id(world.namespace)).describe()
