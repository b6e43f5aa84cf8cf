"""Version 1 is deployed, and the load begins."""

from examples.demo.course import Course

REQUEST = "sketchlib-1"


async def first_release(course: Course) -> None:
    """Deploy version 1, then begin the load."""
    tell = course.telling
    tell.chapter("Version 1 is deployed")
    tell.say(
        "The deploy tool reads the task library as text, finds its tasks and sends their sources to the API server. "
        "A durable workflow does the rest. It ends when every replica has attested the digests of the classes that are "
        "live in it: an acknowledgement proves nothing."
    )
    await course.taskroll.run(
        f"taskroll deploy examples/tasklib/v1/sketchlib --request-id {REQUEST} --reason 'first release'"
    )
    await course.conclude(REQUEST, outcome="completed", new=1)
    await course.taskroll.run("taskroll versions")
    course.running_load = await course.platform.start_load(course.rate)
    tell.say(f"\nFrom now on {course.rate:g} requests per second go to all three services; none of them may fail.")
    await course.answers_now(1)
