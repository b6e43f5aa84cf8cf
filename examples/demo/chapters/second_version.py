"""Version 2: an approval, a live instance that is waited for, then all replicas flip together under load."""

from examples.demo.course import Course
from examples.demo.expectation import expect

REQUEST = "sketchlib-2"
INSTANCE = "encoder-of-app-7"


async def second_version(course: Course) -> None:
    """Approve, wait for the instance, flip."""
    tell = course.telling
    tell.chapter("Version 2 changes a task that is in use")
    tell.say(
        "Version 2 gives EncoderTask a new field, and SketchTask uses it: one without the other fails. An app has an "
        "instance of the encoder registered, and the change needs an approval."
    )
    before = await course.resources.definitions()
    await course.resources.register_instance(INSTANCE, "EncoderTask", "encoder-descriptor")
    tell.seen(f"UnitTaskInstance {INSTANCE} of EncoderTask is registered, as the platform does it")
    await course.taskroll.run(
        f"taskroll deploy examples/tasklib/v2/sketchlib --request-id {REQUEST} --reason 'encode by word' "
        "--approval required --no-wait"
    )
    await course.until(REQUEST, lambda view: view.status.phase == "awaiting-approval", "it waits for an approval")
    await course.taskroll.run(f"taskroll status {REQUEST}")
    tell.say(
        "\nIt waits for a person. Until then nothing is fenced and nothing has changed. An approval binds to the plan, "
        "which the reviewer reads first:"
    )
    await course.taskroll.run(f"taskroll diff {REQUEST}")
    await course.taskroll.run(f"taskroll approve {REQUEST} --by reviewer --reason 'the diff is fine'")
    waiting = await course.until(
        REQUEST,
        lambda view: any(INSTANCE in each for each in view.status.waiting_for),
        f"the unregistration check names {INSTANCE}",
    )
    await course.taskroll.run(f"taskroll status {REQUEST}")
    tell.seen(f"the check names what it waits for: {', '.join(waiting.status.waiting_for)}")
    tell.say("\nMeanwhile every replica is on version 1, and serves:")
    await course.taskroll.run("taskroll versions")
    expect(await course.resources.definitions() == before, "no custom resource has changed while the update waits")
    await course.answers_now(1)
    await course.resources.unregister_instance(INSTANCE)
    tell.seen(f"{INSTANCE} is unregistered; the update goes on by itself")
    await course.taskroll.run(f"taskroll watch {REQUEST}")
    ended = await course.conclude(REQUEST, outcome="completed", old=1, new=2)
    await course.taskroll.run("taskroll versions")
    window = ended.view.status.mixed_version_window_ms
    expect(window is not None, "the replicas say when they changed")
    tell.say(
        f"\nThe first replica and the last changed {window:.0f} ms apart. A call holds a lease on its classes, so no "
        "call was answered by two versions."
    )
    await course.answers_now(2)
