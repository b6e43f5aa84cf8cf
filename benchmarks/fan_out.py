"""The fan-out of taskroll.services against one pooled httpx client, over distinct loopback addresses.

Asks every replica for its attestation, all side by side, and counts answers per second. The replicas are a bare asyncio
server in a process of its own, so that what is measured is the asking side.

    python benchmarks/fan_out.py [--replicas 200] [--rounds 5] [--json FILE]
"""

import argparse
import asyncio
import json
import multiprocessing
import os
import statistics
import time
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from multiprocessing.connection import Connection
from pathlib import Path

import httpx
from pydantic import SecretStr

from taskroll.services.agent_calls import AgentCalls, CallLimits
from taskroll.services.answers import Answered
from taskroll.services.deadline import Deadline
from taskroll.services.replica import Replica
from taskroll.services.settle import for_each
from taskroll_agent.contracts import API_PREFIX, Attestation

TOKEN = SecretStr("benchmark")


def serve(replicas: int, ready: Connection) -> None:
    """Listen on that many addresses of 127.1/16 and send the ports; ends when the other side hangs up."""
    answer = Attestation(
        pod="p", pod_uid="u", process="1", started_at=datetime.now(UTC), epoch=1, content_digest="sha256:" + "0" * 64
    ).model_dump(mode="json")

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode()
                nonce = head.partition("nonce=")[2].split(" ", 1)[0]
                body = json.dumps(answer | {"nonce": nonce}).encode()
                close = "connection: close" in head.lower()
                writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n")
                writer.write(b"Connection: close\r\n" if close else b"")
                writer.write(b"Content-Length: %d\r\n\r\n" % len(body) + body)
                await writer.drain()
                if close:
                    break
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        writer.close()

    async def main() -> None:
        servers = [
            await asyncio.start_server(talk, f"127.1.{n // 250}.{n % 250 + 1}", 0, backlog=64) for n in range(replicas)
        ]
        ready.send([server.sockets[0].getsockname()[:2] for server in servers])
        await asyncio.to_thread(ready.poll, None)

    asyncio.run(main())


def ours(replicas: list[Replica], calls: AgentCalls) -> Callable[[], Awaitable[int]]:
    async def ask() -> int:
        answers = await for_each(replicas, lambda r, d: calls.attest(r, TOKEN, d), Deadline.after(60))
        return sum(isinstance(answer, Answered) for _, answer in answers)

    return ask


def one_httpx_client(replicas: list[Replica], client: httpx.AsyncClient) -> Callable[[], Awaitable[int]]:
    slots = asyncio.Semaphore(CallLimits().concurrency)

    async def one(replica: Replica) -> bool:
        async with slots:
            response = await client.get(
                f"http://{replica.endpoint}{API_PREFIX}/attestation?nonce={os.urandom(16).hex()}",
                headers={"Authorization": f"Bearer {TOKEN.get_secret_value()}"},
            )
        return response.status_code == 200 and bool(Attestation.model_validate_json(response.content))

    async def ask() -> int:
        return sum(await asyncio.gather(*(one(replica) for replica in replicas)))

    return ask


async def rate(ask: Callable[[], Awaitable[int]], expected: int) -> float:
    """Answers per second, over as many fan-outs as fill a third of a second: a single one takes 30 ms."""
    started = time.perf_counter()
    total = 0
    while (elapsed := time.perf_counter() - started) < 0.33:
        answered = await ask()
        if answered != expected:
            raise SystemExit(f"{answered} of {expected} replicas answered")
        total += answered
    return total / elapsed


async def measure(replicas: list[Replica], rounds: int) -> dict[str, object]:
    """Rates of all three, taken in turn, so that what else the machine does hits them alike."""
    plain = httpx.AsyncClient(timeout=60, trust_env=False)
    # The setting under which one client copes best: it scans fewer connections for each request.
    keeps_none = httpx.AsyncClient(
        timeout=60, trust_env=False, limits=httpx.Limits(max_connections=None, max_keepalive_connections=0)
    )
    async with AgentCalls() as calls, plain, keeps_none:
        asking = {
            "fan_out": ours(replicas, calls),
            "one_httpx_client": one_httpx_client(replicas, plain),
            "one_httpx_client_without_keepalive": one_httpx_client(replicas, keeps_none),
        }
        for ask in asking.values():
            await rate(ask, len(replicas))  # warm up: imports, and connections that are kept
        taken = [{name: await rate(ask, len(replicas)) for name, ask in asking.items()} for _ in range(rounds)]
    figures: dict[str, object] = {"replicas": len(replicas), "rounds": rounds}
    for name in asking:
        figures[f"{name}_per_second"] = spread([one[name] for one in taken], 0)
    for name in list(asking)[1:]:
        figures[f"fan_out_over_{name}"] = spread([one["fan_out"] / one[name] for one in taken], 1)
    return figures


def spread(values: list[float], digits: int) -> dict[str, float]:
    return {
        "median": round(statistics.median(values), digits),
        "min": round(min(values), digits),
        "max": round(max(values), digits),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--replicas", type=int, default=200)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", type=Path, help="write the figures there as well")
    wanted = parser.parse_args()

    here, there = multiprocessing.get_context("spawn").Pipe()
    server = multiprocessing.get_context("spawn").Process(target=serve, args=(wanted.replicas, there), daemon=True)
    server.start()
    there.close()
    try:
        replicas = [
            Replica(service="bench", pod=f"p{n}", pod_uid=f"u{n}", address=host, port=port, ready=True)
            for n, (host, port) in enumerate(here.recv())
        ]
        figures = asyncio.run(measure(replicas, wanted.rounds))
    finally:
        here.close()
        server.terminate()
        server.join()
    print(json.dumps(figures, indent=2))
    if wanted.json:
        wanted.json.parent.mkdir(parents=True, exist_ok=True)
        wanted.json.write_text(json.dumps(figures, indent=2) + "\n")


if __name__ == "__main__":
    main()
