"""The demo from its start to its end: stack, platform, chapters, report."""

import argparse
import asyncio
import contextlib
import os
import shutil
import signal
import sys
import time
from pathlib import Path

from examples.child_processes import ROOT
from examples.fleet import ReplicaDidNotStart
from examples.worker_process import WorkerEnded
from taskroll.devstack import DevStack, DevStackError, StackInfo, running_stack
from taskroll.models.errors import TaskrollError

from .chapters.broken_version import broken_version
from .chapters.dying_replica import dying_replica
from .chapters.first_release import first_release
from .chapters.rollback import rollback
from .chapters.second_version import second_version
from .closing import check_report, make_report, summarise
from .command_line import CommandLine
from .course import Course
from .custom_resources import CustomResources
from .expectation import ExpectationNotMet
from .running_platform import NAMESPACE, SERVICES, running_platform
from .telling import Telling

CHAPTERS = (first_release, second_version, broken_version, dying_replica, rollback)


async def play(stack: StackInfo, arguments: argparse.Namespace, telling: Telling, started: float) -> None:
    """All chapters, then the report."""
    folder: Path = arguments.folder
    task = asyncio.current_task()
    assert task is not None
    for number in (signal.SIGTERM, signal.SIGHUP):
        asyncio.get_running_loop().add_signal_handler(number, task.cancel)
    async with contextlib.AsyncExitStack() as exits:
        platform = await exits.enter_async_context(running_platform(stack, folder))
        counts = ", ".join(f"{count} × {name}" for name, count in SERVICES.items())
        telling.seen(f"{counts}: {sum(SERVICES.values())} processes, each with its agent and a Pod object")
        telling.seen(f"{time.time() - started:.1f} s after the start; web UI {stack.ui_url}")
        course = Course(
            telling,
            platform,
            CommandLine(telling, platform.environment, folder / "taskroll.log"),
            CustomResources(platform.api, NAMESPACE),
            arguments.rate,
        )
        exits.push_async_callback(_end_load, course)
        for chapter in CHAPTERS:
            await chapter(course)
        await course.load.stop()
        report = make_report(course, started)
        (folder / "report.json").write_text(report.model_dump_json(indent=2) + "\n")
        summarise(telling, report)
        check_report(report)
        telling.say(f"Report: {_shown(folder / 'report.json')}. It took {report.seconds:.0f} s.")
        if sys.stdin.isatty():
            await _stay(course)


async def _stay(course: Course) -> None:
    """Leave all running until Ctrl-C."""
    tell, platform = course.telling, course.platform
    tell.say(f"\nAll is left running. Web UI: {platform.stack.ui_url}/namespaces/default/workflows", style="bold")
    tell.say(f"In another terminal: source {_shown(platform.folder / 'env.sh')}; taskroll versions")
    tell.say("Ctrl-C ends it.")
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    await stop.wait()


async def _end_load(course: Course) -> None:
    if course.running_load is not None:
        await course.running_load.stop()


def run(arguments: argparse.Namespace) -> int:
    """The exit code: 0 or 1.

    Raises:
        KeyboardInterrupt, asyncio.CancelledError: where it was interrupted; everything has ended then.
    """
    telling = Telling()
    started = time.time()
    _forget_other_stacks()
    folder: Path = arguments.folder
    try:
        if running_stack(folder / "stack"):
            telling.failed(f"another demo runs on {_shown(folder)}: end it first")
            return 1
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        telling.chapter("Temporal, etcd and a Kubernetes API server start on this machine")
        telling.say("Real ones, without containers. What this machine lacks is built first: that takes minutes, once.")
        with DevStack(folder / "stack", tell=lambda line: telling.say(f"  {line}", style="dim")) as stack:
            asyncio.run(play(stack, arguments, telling, started))
    except (ExpectationNotMet, ReplicaDidNotStart, WorkerEnded, DevStackError, TaskrollError) as error:
        telling.failed(f"{error}")
        telling.say(f"Logs are in {_shown(folder)}.")
        return 1
    return 0


def _forget_other_stacks() -> None:
    """What the environment says of other Temporal servers and clusters is not meant for the demo."""
    for name in list(os.environ):
        if name.startswith("TEMPORAL_") or name == "KUBECONFIG":
            del os.environ[name]
    os.environ["TEMPORAL_CONFIG_FILE"] = os.devnull


def _shown(path: Path) -> Path:
    return path.relative_to(ROOT) if path.is_relative_to(ROOT) else path
