"""Version 4 is fine, but a replica dies between patch and verify: all is taken back."""

import asyncio
import re
import shutil
from collections import Counter
from pathlib import Path

from examples.child_processes import ROOT
from examples.demo.course import PATIENCE, Course
from examples.demo.custom_resources import differences
from examples.demo.expectation import ExpectationNotMet, expect
from examples.fleet import Replica

from .broken_version import ROLLED_BACK

REQUEST = "sketchlib-4"
VICTIM = "task-manager-2"
LIBRARY = ROOT / "examples" / "tasklib"


async def dying_replica(course: Course) -> None:
    """Let a replica die while an update is under way; all has to be taken back."""
    tell = course.telling
    tell.chapter("A replica dies in the middle of an update")
    tell.say(
        f"Version 4 is fine. But {VICTIM} is going to die by SIGKILL at the moment when it begins to serve it: after "
        "the custom resources were patched and the release committed, before verify. It stays down until the update "
        "gives up. Then all has to be as it was, on every replica."
    )
    library = write_version_4(course.platform.folder)
    before = await course.resources.definitions()
    victim = course.platform.fleet.replicas[VICTIM]
    victim.die_on_activation()
    supervision = asyncio.create_task(_supervise(course, victim))
    try:
        await course.taskroll.run(
            f"taskroll deploy {library.relative_to(ROOT) if library.is_relative_to(ROOT) else library} "
            f"--request-id {REQUEST} --reason 'version 4' --verify-timeout 3",
            exit_code=ROLLED_BACK,
        )
        await supervision
    finally:
        supervision.cancel()
        victim.let_start()
    changed = differences(before, await course.resources.definitions())
    ended = await course.conclude(REQUEST, outcome="rolled_back", old=2, new=4, restored_byte_for_byte=not changed)
    steps = [step.name for step in ended.view.status.steps if step.state == "done"]
    expect(not changed, "every custom resource is what it was, byte for byte", changed)
    expect(ended.view.status.restored_byte_for_byte is True, "the update says so too", ended.view.status)
    expect({"patch", "commit", "revert-release"} <= set(steps), "it was patched, committed and taken back", steps)
    expect(ended.epoch == 4, "a rollback is a release of its own: number 4, with the content of release 2", ended.epoch)
    tell.seen("custom resources are what they were, compared by the demo byte for byte")
    await course.taskroll.run("taskroll versions --replicas")
    await course.answers_now(2)
    by_four = [record for record in course.load.records if record.version == 4]
    retried = [record for record in course.load.records if record.retried is not None]
    tell.say(
        f"\n{len(by_four)} answers came from version 4 before it was taken back, none from two versions; "
        f"{len(retried)} requests met the dying replica and were answered by another one."
    )


async def _supervise(course: Course, victim: Replica) -> None:
    """Say when the replica is dead, and let it start again once the update is on its way back."""
    try:
        async with asyncio.timeout(PATIENCE):
            await victim.died.wait()
    except TimeoutError:
        raise ExpectationNotMet(f"expected: {VICTIM} dies when it activates the new version") from None
    course.telling.say(f"  ✗ {VICTIM} died, and is held down", style="red")
    report = await course.platform.client.versions()
    on_release = Counter("silent" if each.epoch is None else f"on release {each.epoch}" for each in report.replicas)
    course.telling.say(f"  ✗ replicas now: {', '.join(f'{n} {where}' for where, n in on_release.items())}", style="red")
    await course.until(REQUEST, lambda view: view.status.phase == "rolling-back", "it rolls back")
    victim.let_start()
    course.telling.say(f"  ✓ the update rolls back; {VICTIM} is started again", style="green")


def write_version_4(folder: Path) -> Path:
    """Version 2 with other numbers, since all that matters here is that it is another version."""
    target = folder / "tasklib"
    shutil.copytree(LIBRARY / "v2", target / "v4")
    shutil.copytree(LIBRARY.parent / "taskbase", folder / "taskbase", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(LIBRARY / "pyproject.toml", target)
    for source in (target / "v4").rglob("*.py"):
        source.write_text(re.sub(r"(version: ClassVar\[int\]) = 2", r"\1 = 4", source.read_text()))
    return target / "v4" / "sketchlib"
