"""A steady load on all services: ``python -m examples.load``, until SIGTERM.

It treats the services as a Kubernetes Service does. Requests go to ready replicas in turn. Where a connection breaks
the request is sent once more, to another replica: the calls are idempotent, and such a retry is written down. Whatever
else goes wrong counts as failed. Each request becomes a `LoadRecord`, a line of JSON on stdout.

The loop is closed, at a fixed rate: each of a few callers waits for its answer, then for its next turn.
"""

import argparse
import asyncio
import contextlib
import itertools
import signal
import time
from collections.abc import Callable
from typing import Any

import aiohttp
from kubernetes.aio import config as kube_config

from .load_record import LoadRecord
from .ready_replicas import ReadyReplicas

CALLERS = 12
ANSWER_TIMEOUT = 5.0
TEXT = "every service on the same version, or none of them moved"


class Load:
    """Callers that share one rate."""

    def __init__(
        self,
        replicas: ReadyReplicas,
        session: aiohttp.ClientSession,
        *,
        services: list[str],
        port: int,
        take: Callable[[LoadRecord], None],
    ) -> None:
        self._replicas = replicas
        self._session = session
        self._services = itertools.cycle(services)
        self._port = port
        self._take = take

    async def run(self, rate: float, stop: asyncio.Event) -> None:
        """Send `rate` requests per second in all until told to stop; then wait for the answers under way."""
        await self._replicas.known.wait()
        await asyncio.gather(*(self._caller(number, rate, stop) for number in range(CALLERS)))

    async def _caller(self, number: int, rate: float, stop: asyncio.Event) -> None:
        clock = asyncio.get_running_loop().time
        due = clock() + number / rate
        while True:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(stop.wait(), max(0.0, due - clock()))
                return
            self._take(await self._request(next(self._services)))
            # A late caller does not catch up: the rate is a ceiling.
            due = max(due + CALLERS / rate, clock())

    async def _request(self, service: str) -> LoadRecord:
        at, started = time.time(), time.perf_counter()
        address, retried = self._replicas.pick(service), None
        try:
            try:
                answer = await self._call(address)
            except aiohttp.ClientConnectionError as error:
                retried = _reason(error)
                answer = await self._call(self._replicas.pick(service, but_not=address))
        except (aiohttp.ClientError, TimeoutError, KeyError, ValueError) as error:
            return LoadRecord(at, time.perf_counter() - started, service, retried=retried, failed=_reason(error))
        seconds = time.perf_counter() - started
        return LoadRecord(at, seconds, service, answer["pod"], answer["versions"], retried=retried)

    async def _call(self, address: str | None) -> dict[str, Any]:
        if address is None:
            raise ValueError("no ready replica")
        async with self._session.post(f"http://{address}:{self._port}/call", json={"text": TEXT}) as response:
            response.raise_for_status()
            return await response.json()


async def run_load(arguments: argparse.Namespace) -> None:
    """Set up, run until SIGTERM, leave nothing unwritten."""
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    services: list[str] = arguments.services.split(",")
    api = await kube_config.new_client_from_config(arguments.kubeconfig, context=arguments.context)
    replicas = ReadyReplicas(api, arguments.namespace, services)
    following = asyncio.create_task(replicas.follow())
    # A connection per caller and replica at most, so none waits for another's.
    connector = aiohttp.TCPConnector(limit=0)
    timeout = aiohttp.ClientTimeout(total=ANSWER_TIMEOUT)
    try:
        async with aiohttp.ClientSession(connector=connector, timeout=timeout) as session:
            load = Load(replicas, session, services=services, port=arguments.port, take=_write)
            await load.run(arguments.rate, stop)
    finally:
        following.cancel()
        await asyncio.gather(following, return_exceptions=True)
        await api.close()


def _write(record: LoadRecord) -> None:
    # Nobody reads any more: the demo has ended, and so does this.
    with contextlib.suppress(BrokenPipeError):
        print(record.line(), flush=True)


def _reason(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}"


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m examples.load", description="A steady load on all services.")
    parser.add_argument("--kubeconfig", required=True)
    parser.add_argument("--context", required=True)
    parser.add_argument("--namespace", required=True)
    parser.add_argument("--services", required=True, help="names, separated by commas")
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--rate", type=float, default=150.0, help="requests per second, all services together")
    return parser.parse_args()


if __name__ == "__main__":
    asyncio.run(run_load(_arguments()))
