"""``python -m benchmarks``: first figures. Prints tables for the README and writes ``build/bench/*.json``.

They say what a saga costs beside the bare calls, and how long two versions are served at once, beside restarting the
replicas one by one. There is no goal to meet. Run it on a machine that does nothing else.
"""

import argparse
import asyncio
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import NoReturn

from pydantic import BaseModel

from examples.child_processes import ROOT
from taskroll.devstack import DevStack, StackInfo

from .bench_world import Size, bench_world, worker_for_all
from .mixed_versions import MixedVersions, measure_mixed_versions, write_mixed_versions
from .saga_cost import SagaCost, measure_saga_cost, write_saga_cost
from .spread import Machine


class Plan(BaseModel):
    """What is measured, how often."""

    many: Size
    """Replicas that share a few processes."""
    own: Size
    """Replicas with a process each."""
    cost_rounds: int
    many_rounds: int
    own_rounds: int


FULL = Plan(
    many=Size(definitions=10, replicas=50, per_process=25),
    own=Size(definitions=10, replicas=9, per_process=1),
    cost_rounds=15,
    many_rounds=7,
    own_rounds=5,
)
QUICK = Plan(
    many=Size(definitions=3, replicas=4, per_process=2),
    own=Size(definitions=2, replicas=3, per_process=1),
    cost_rounds=2,
    many_rounds=1,
    own_rounds=1,
)


class Figures(BaseModel):
    """All of it."""

    machine: Machine
    versions: dict[str, str]
    saga_cost: SagaCost
    mixed_versions: list[MixedVersions]


async def measure(stack: StackInfo, folder: Path, plan: Plan) -> Figures:
    """All figures, one after the other."""
    machine = Machine.here()
    async with worker_for_all(stack, folder) as token:
        async with bench_world(stack, folder, "bench-many", token, plan.many) as world:
            _say(f"{plan.many.replicas} replicas serve; {plan.cost_rounds} rounds of saga and bare script")
            cost = await measure_saga_cost(stack, world, plan.cost_rounds)
            _say(f"{plan.many_rounds} rounds of saga and one-by-one restart, seen by the prober")
            many = await measure_mixed_versions(world, folder, plan.many_rounds)
        async with bench_world(stack, folder, "bench-own", token, plan.own) as world:
            _say(f"{plan.own.replicas} replicas with a process each; {plan.own_rounds} rounds of the same")
            own = await measure_mixed_versions(world, folder, plan.own_rounds)
    versions = {name: component.version for name, component in stack.components.items()}
    return Figures(machine=machine, versions=versions, saga_cost=cost, mixed_versions=[many, own])


def write_figures(figures: Figures) -> str:
    """As Markdown."""
    versions = ", ".join(f"{name} {version}" for name, version in figures.versions.items())
    return "\n\n".join(
        [
            "## What a saga costs",
            write_saga_cost(figures.saga_cost),
            "## How long two versions are served at once",
            write_mixed_versions(figures.mixed_versions),
            f"{figures.machine.text()}; load {figures.machine.load_average} before the first run. {versions}.",
        ]
    )


def main() -> int:
    """The exit code."""
    arguments = _arguments()
    folder: Path = arguments.folder
    signal.signal(signal.SIGTERM, _interrupt)
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    # What the environment says of other Temporal servers and clusters is not meant here.
    for name in [name for name in os.environ if name.startswith("TEMPORAL_") or name == "KUBECONFIG"]:
        del os.environ[name]
    os.environ["TEMPORAL_CONFIG_FILE"] = os.devnull
    try:
        with DevStack(folder / "stack", tell=_say) as stack:
            figures = asyncio.run(measure(stack, folder, QUICK if arguments.quick else FULL))
    except KeyboardInterrupt:
        _say("interrupted; everything has ended")
        return 130
    (folder / "figures.json").write_text(figures.model_dump_json(indent=2) + "\n")
    print(write_figures(figures))
    if not arguments.quick:
        _say("the fan-out to agents by itself")
        command = [sys.executable, str(Path(__file__).with_name("fan_out.py")), "--json", str(folder / "fan_out.json")]
        print("\n## The fan-out to agents, answers per second\n", flush=True)
        return subprocess.run(command, check=False).returncode
    return 0


def _say(text: str) -> None:
    print(f"bench: {text}", file=sys.stderr, flush=True)


def _interrupt(*_: object) -> NoReturn:
    raise KeyboardInterrupt


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="few runs of little: to see that it works")
    parser.add_argument("--folder", type=lambda text: Path(text).absolute(), default=ROOT / "build" / "bench")
    return parser.parse_args()


if __name__ == "__main__":
    code = main()
    sys.stdout.flush()
    # Temporal's SDK may crash at the interpreter's orderly end, which would change the exit code.
    os._exit(code)
