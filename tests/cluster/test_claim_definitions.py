"""A recovery marks what its update was to change or delete: what was read before can no longer be written."""

from __future__ import annotations

import pytest

from taskroll.cluster.apply_change import apply_change
from taskroll.cluster.claim_definitions import claim_definitions
from taskroll.cluster.errors import Conflict
from taskroll.cluster.objects import delete_object
from taskroll.cluster.resources import TASK_DEFINITION
from taskroll.cluster.restore_change import is_touched, matches_former, restore_change
from taskroll.models.errors import TakenOver
from taskroll_agent.contracts import DefinitionKey

KEY = DefinitionKey("TaskDefinition", "encoder-task")
UPDATE, TOKEN = "update-1", "0a1b2c3d"


@pytest.fixture
async def deletion(lab):
    """The change of an update that is to delete the definition, which somebody made by hand."""
    await lab.create(lab.content("encoder-task"), labels={"team": "theirs"}, finalizers=["example.com/a"])
    return await lab.change(None, key=KEY)


async def claim(lab, *changes) -> int:
    return await claim_definitions(lab.taskroll, lab.namespace, changes, request_id=UPDATE, recovery=TOKEN)


async def test_late_delete_is_refused_by_the_api_server(lab, deletion) -> None:
    seen = await lab.live(KEY)
    assert await claim(lab, deletion) == 1
    with pytest.raises(Conflict, match="ResourceVersion in the precondition"):
        await delete_object(
            lab.taskroll,
            TASK_DEFINITION,
            lab.namespace,
            "encoder-task",
            uid=seen.uid,
            resource_version=seen.resource_version,
        )
    with pytest.raises(TakenOver, match="recovery"):
        await apply_change(lab.taskroll, lab.namespace, deletion, None, request_id=UPDATE)
    assert matches_former(await lab.live(KEY), deletion)


async def test_late_delete_of_one_that_was_created_again_is_refused_by_the_api_server(lab) -> None:
    content = lab.content("encoder-task")
    await lab.create(content)
    change = await lab.change(None, key=KEY)
    seen = await lab.live(KEY)
    await apply_change(lab.taskroll, lab.namespace, change, None, request_id=UPDATE)
    await restore_change(lab.taskroll, lab.namespace, change, content, request_id=UPDATE, recovery=TOKEN)
    with pytest.raises(Conflict, match="UID in the precondition"):
        await delete_object(
            lab.taskroll,
            TASK_DEFINITION,
            lab.namespace,
            "encoder-task",
            uid=seen.uid,
            resource_version=(await lab.live(KEY)).resource_version,
        )
    with pytest.raises(TakenOver, match="recovery"):
        await apply_change(lab.taskroll, lab.namespace, change, None, request_id=UPDATE)


async def test_mark_changes_nothing_else_and_is_set_once(lab, deletion) -> None:
    before = await lab.snapshot()
    assert await claim(lab, deletion) == 1
    marked = (await lab.live(KEY)).resource_version
    assert await claim(lab, deletion) == 1
    assert (await lab.live(KEY)).resource_version == marked
    assert await lab.snapshot() == before
    assert not await is_touched(lab.taskroll, lab.namespace, [deletion], UPDATE)


async def test_what_is_gone_or_was_not_there_is_left_alone(lab) -> None:
    creation = await lab.change(lab.content("encoder-task"))
    await lab.create(lab.content("writer-task"))
    gone = await lab.change(None, key=DefinitionKey("TaskDefinition", "writer-task"))
    await apply_change(lab.taskroll, lab.namespace, gone, None, request_id=UPDATE)
    assert await claim(lab, creation, gone) == 0


async def test_another_update_writes_what_was_marked(lab, deletion) -> None:
    await claim(lab, deletion)
    content = lab.content("encoder-task", version="2")
    change = await lab.change(content, key=KEY)
    assert await apply_change(lab.taskroll, lab.namespace, change, content, request_id="update-2") == "written"
