"""Back to release 1: an update too, whose aim is a release that was."""

from examples.demo.course import Course
from examples.demo.custom_resources import differences
from examples.demo.expectation import expect

REQUEST = "back-to-1"


async def rollback(course: Course) -> None:
    """Go back to release 1, and show what is on record."""
    tell = course.telling
    tell.chapter("Back to release 1")
    tell.say(
        "A rollback is planned, fenced, prepared and verified like any other update, and gets a release number of its "
        "own: numbers only grow, so that a replica never mistakes an old order for a new one."
    )
    await course.taskroll.run(f"taskroll rollback --to 1 --request-id {REQUEST} --reason 'encode by letter again'")
    await course.conclude(REQUEST, outcome="completed", old=2, new=1)
    changed = differences(course.releases[1], await course.resources.definitions())
    expect(not changed, "every custom resource is what it was in release 1, byte for byte", changed)
    tell.seen("custom resources equal those of release 1, byte for byte")
    await course.taskroll.run("taskroll versions")
    await course.answers_now(1)
    tell.say("\nWhat happened is on record, in the cluster, also when Temporal's histories are gone:")
    await course.taskroll.run("taskroll history")
    await course.taskroll.run("taskroll list")
