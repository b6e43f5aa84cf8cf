"""How the load treats replicas that do not answer, on small servers instead of replicas."""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager

import aiohttp
from aiohttp import web

from examples.fleet import free_addresses
from examples.load import Load
from examples.load_record import LoadRecord

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
SERVICE = "gateway"


class Replicas:
    """In the place of `ReadyReplicas`: these addresses, the first one first."""

    def __init__(self, *addresses: str) -> None:
        self.addresses = addresses
        self.known = asyncio.Event()
        self.known.set()

    def pick(self, service: str, but_not: str | None = None) -> str | None:
        return next((address for address in self.addresses if address != but_not), None)


@asynccontextmanager
async def served(handler: Handler, address: str, port: int) -> AsyncGenerator[None]:
    app = web.Application()
    app.router.add_post("/call", handler)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, address, port).start()
    try:
        yield
    finally:
        await runner.cleanup()


async def good(_request: web.Request) -> web.StreamResponse:
    return web.json_response({"pod": "good", "versions": {"encoder": 2}})


async def bad(_request: web.Request) -> web.StreamResponse:
    raise web.HTTPInternalServerError


async def breaking(request: web.Request) -> web.StreamResponse:
    assert request.transport is not None
    request.transport.abort()
    return web.Response()


async def one_request(*handlers: Handler | None) -> LoadRecord:
    """The record of one request where the replicas answer like this; None is one that does not listen."""
    port = 18_500
    addresses = free_addresses(port)
    records: list[LoadRecord] = []
    stop = asyncio.Event()

    def take(record: LoadRecord) -> None:
        records.append(record)
        stop.set()

    chosen = [next(addresses) for _ in handlers]
    async with (
        _all_served(list(zip(handlers, chosen, strict=True)), port),
        aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=2)) as session,
    ):
        load = Load(Replicas(*chosen), session, services=[SERVICE], port=port, take=take)  # type: ignore[arg-type]
        await load.run(50, stop)
    return records[0]


@asynccontextmanager
async def _all_served(replicas: list[tuple[Handler | None, str]], port: int) -> AsyncGenerator[None]:
    if not replicas:
        yield
        return
    (handler, address), *others = replicas
    async with _all_served(others, port):
        if handler is None:
            yield
        else:
            async with served(handler, address, port):
                yield


async def test_an_answer_is_recorded_with_its_versions() -> None:
    record = await one_request(good)
    assert (record.pod, record.versions, record.retried, record.failed) == ("good", {"encoder": 2}, None, None)


async def test_a_refused_connection_is_retried_on_another_replica() -> None:
    record = await one_request(None, good)
    assert record.pod == "good"
    assert record.failed is None
    assert record.retried is not None


async def test_a_connection_that_breaks_is_retried_on_another_replica() -> None:
    record = await one_request(breaking, good)
    assert record.pod == "good"
    assert record.retried is not None


async def test_a_second_broken_connection_is_a_failure() -> None:
    record = await one_request(breaking, None, good)
    assert record.failed is not None


async def test_an_error_of_the_service_is_a_failure_and_not_retried() -> None:
    record = await one_request(bad, good)
    assert record.failed is not None
    assert "500" in record.failed
    assert record.retried is None


async def test_without_a_ready_replica_the_request_fails() -> None:
    record = await one_request()
    assert record.failed == "ValueError: no ready replica"


async def test_a_broken_connection_without_another_replica_is_a_failure() -> None:
    record = await one_request(None)
    assert record.failed is not None
