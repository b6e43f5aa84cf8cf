"""Version 3 does not import: found out before anything has moved."""

from examples.demo.course import Course
from examples.demo.custom_resources import differences
from examples.demo.expectation import expect

REQUEST = "sketchlib-3"
ROLLED_BACK = 11
"""Exit code of the deploy tool."""


async def broken_version(course: Course) -> None:
    """Deploy what does not import; nothing may have moved."""
    tell = course.telling
    tell.chapter("Version 3 is broken")
    tell.say(
        "Its text is fine, but SketchTask imports a name that does not exist. Every replica loads a new version beside "
        "the old one before anything is changed: here that fails."
    )
    before = await course.resources.definitions()
    await course.taskroll.run(
        f"taskroll deploy examples/tasklib/v3-broken/sketchlib --request-id {REQUEST} --reason 'a quick fix'",
        exit_code=ROLLED_BACK,
    )
    changed = differences(before, await course.resources.definitions())
    ended = await course.conclude(REQUEST, outcome="rolled_back", restored_byte_for_byte=not changed)
    steps = {step.name: step.state for step in ended.view.status.steps}
    expect(not changed, "no custom resource has changed", changed)
    expect(steps.get("prepare") == "failed", "it fails in the step prepare", steps)
    expect(not steps.keys() & {"patch", "commit"}, "nothing was patched", steps)
    expect(ended.epoch == 2, "release 2 is in place", ended.epoch)
    tell.seen("nothing moved: custom resources compared byte for byte, release 2 in place")
    await course.answers_now(2)
