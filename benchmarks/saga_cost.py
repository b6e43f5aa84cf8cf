"""First figure: the saga beside the same API and agent calls made bare."""

from collections import Counter

from pydantic import BaseModel

from taskroll.devstack import StackInfo

from .api_requests import api_requests
from .bench_world import World, step_seconds
from .spread import Spread


class SagaCost(BaseModel):
    """Both sides on the very same replicas, in turn: saga, bare, saga, bare."""

    definitions: int
    replicas: int
    saga_ms: Spread
    bare_ms: Spread
    ratio: Spread
    """Of each saga to the bare script that followed it."""
    workflow_ms: Spread
    """The saga's own time, from its first event to its last: without the client's part."""
    steps_ms: dict[str, Spread]
    saga_requests: dict[str, int]
    """To the API server in one update, by verb and resource; those of the agents included."""
    bare_requests: dict[str, int]


async def measure_saga_cost(stack: StackInfo, world: World, rounds: int) -> SagaCost:
    """Warm up, then so many rounds of one saga and one bare script."""
    await world.saga()
    await world.script()
    world.statuses.clear()
    before = await api_requests(stack)
    saga, bare = [await world.saga()], list[float]()
    between = await api_requests(stack)
    bare.append(await world.script())
    after = await api_requests(stack)
    for _ in range(rounds - 1):
        saga.append(await world.saga())
        bare.append(await world.script())
    return SagaCost(
        definitions=world.size.definitions,
        replicas=world.size.replicas,
        saga_ms=_milliseconds(saga),
        bare_ms=_milliseconds(bare),
        ratio=Spread.of([one / other for one, other in zip(saga, bare, strict=True)]),
        workflow_ms=_milliseconds(
            [(s.ended_at - s.started_at).total_seconds() for s in world.statuses if s.ended_at is not None]
        ),
        steps_ms={name: _milliseconds(seconds) for name, seconds in step_seconds(world.statuses).items()},
        saga_requests=_difference(before, between),
        bare_requests=_difference(between, after),
    )


def write_saga_cost(cost: SagaCost) -> str:
    """As Markdown."""
    lines = [
        f"| {cost.definitions} definitions, {cost.replicas} replicas, {cost.saga_ms.runs} runs | median (range) |",
        "|---|---|",
        f"| the saga, from the request to its result | {cost.saga_ms.text(' ms')} |",
        f"| the same calls made bare in a script | {cost.bare_ms.text(' ms')} |",
        f"| saga ÷ bare | **{cost.ratio.text('', 2)}** |",
        f"| requests to the API server, agents' included: saga, bare | {_total(cost.saga_requests)}, "
        f"{_total(cost.bare_requests)} |",
        "",
        "| step of the saga | median (range) |",
        "|---|---|",
        *(f"| {name} | {spread.text(' ms')} |" for name, spread in cost.steps_ms.items()),
        f"| between the steps, and to begin and to end | {_rest(cost):,.0f} ms |",
    ]
    return "\n".join(lines)


def _rest(cost: SagaCost) -> float:
    return cost.saga_ms.median - sum(spread.median for spread in cost.steps_ms.values())


def _milliseconds(seconds: list[float]) -> Spread:
    return Spread.of([each * 1000 for each in seconds])


def _difference(before: Counter[str], after: Counter[str]) -> dict[str, int]:
    return dict(sorted((after - before).items()))


def _total(requests: dict[str, int]) -> int:
    return sum(requests.values())
