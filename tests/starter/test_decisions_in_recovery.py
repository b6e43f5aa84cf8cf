"""What people are told who tell an update something while the reconciler's recovery finishes it."""

from collections.abc import AsyncGenerator

import pytest
from temporalio.client import WorkflowHandle

from starter.client import TaskrollClient
from taskroll.models.decision import AbortInput, ReleaseInput
from taskroll.models.errors import WrongPhase
from taskroll.models.names import recovery_workflow_id

from .test_observation import stand_in, worker


@pytest.fixture
async def recovering(
    idle_client: TaskrollClient, request: pytest.FixtureRequest
) -> AsyncGenerator[WorkflowHandle[object, object]]:
    """An update whose workflow was terminated, while its recovery runs: the handle of the recovery."""
    temporal, request_id = await stand_in(idle_client, None)
    async with worker(temporal, idle_client):
        await temporal.get_workflow_handle((await idle_client.status(request_id)).workflow_id).terminate()
        recovery = await temporal.start_workflow(
            "TaskUpdate",
            request.param,
            id=recovery_workflow_id(idle_client.settings.namespace, request_id),
            task_queue=idle_client.settings.task_queue,
        )
        yield recovery
        await recovery.terminate()


ABORT, RELEASE = AbortInput(by="tester"), ReleaseInput(by="tester", reason="impatience")


@pytest.mark.parametrize("recovering", [None], indirect=True)
@pytest.mark.parametrize("wish", [ABORT, RELEASE], ids=["abort", "release-fence"])
async def test_the_recovery_goes_on(
    idle_client: TaskrollClient, recovering: WorkflowHandle[object, object], wish: AbortInput | ReleaseInput
) -> None:
    request_id = recovering.id.rpartition("/")[2]
    with pytest.raises(WrongPhase) as refused:
        await tell(idle_client, request_id, wish)
    said = refused.value.message
    assert f"the reconciler's recovery {recovering.id} finishes it" in said
    assert f"it cannot be stopped; watch it: taskroll watch {request_id}" in said
    assert "has ended" not in said
    assert "taskroll abort" not in said


@pytest.mark.parametrize("recovering", ["needs_operator"], indirect=True)
async def test_the_recovery_is_parked(idle_client: TaskrollClient, recovering: WorkflowHandle[object, object]) -> None:
    request_id = recovering.id.rpartition("/")[2]
    with pytest.raises(WrongPhase) as refused:
        await tell(idle_client, request_id, ABORT)
    assert f"waits for an operator in its recovery {recovering.id}" in refused.value.message
    assert f"taskroll resume {request_id}" in refused.value.message


async def tell(client: TaskrollClient, request_id: str, wish: AbortInput | ReleaseInput) -> None:
    if isinstance(wish, AbortInput):
        await client.abort(request_id, wish)
    else:
        await client.release_fence(request_id, wish)
