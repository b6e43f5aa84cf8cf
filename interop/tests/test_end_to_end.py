"""The stock services work here as they do in a cluster."""

from __future__ import annotations

from interop.fleet import Fleet
from interop.library import CLASSES, duet_app, library


async def test_a_call_goes_from_the_gateway_through_composite_and_dispatcher_to_the_executor(fleet: Fleet) -> None:
    await fleet.gateway.deploy(library(1))
    await fleet.until_loaded([*CLASSES, "ScribeDescriptor"], 1)

    app = await fleet.gateway.register(duet_app())
    answer = await fleet.gateway.invoke(app, text="hello")

    received = await fleet.executor.received()
    assert sorted(one["text"] for one in received) == ["first: hello", "second: hello"]
    fixed = {"descriptor": 1, "unit": 1, "asked_by": 1, "recorded_by": 1, "model_id": "quill"}
    assert all(one.items() >= fixed.items() and "tone" not in one for one in received)
    assert answer["version"] == 1
    assert answer["recorded_by"] == [1, 1]
    assert await fleet.gateway.apps() == {app: "ready"}
    assert [state for _, _, state in await fleet.gateway.tasks()] == ["ready"]

    await fleet.gateway.unregister(app)
    assert await fleet.gateway.apps() == {}
    assert await fleet.gateway.tasks() == []
