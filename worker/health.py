"""The worker's own endpoint: /healthz (the process lives), /readyz (it polls and reaches the cluster), /metrics."""

import contextlib
from collections.abc import Awaitable, Callable

import httpx
import uvicorn
from prometheus_client import CONTENT_TYPE_LATEST, REGISTRY, generate_latest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

Probe = Callable[[], Awaitable[dict[str, str]]]
"""Answers with what is wrong, by part; empty where all is well."""


def create_app(probe: Probe, sdk_metrics_url: str | None) -> Starlette:
    """Make the app. Metrics are our own (Prometheus text), followed by those of the Temporal SDK."""

    async def healthz(_: Request) -> Response:
        return PlainTextResponse("ok\n")

    async def readyz(_: Request) -> Response:
        wrong = await probe()
        return JSONResponse({"ready": not wrong, "problems": wrong}, status_code=503 if wrong else 200)

    async def metrics(_: Request) -> Response:
        body = generate_latest(REGISTRY)
        if sdk_metrics_url:
            async with httpx.AsyncClient(timeout=2.0, trust_env=False) as http:
                try:
                    body += (await http.get(sdk_metrics_url)).content
                except httpx.HTTPError:
                    body += b"# the SDK's metrics cannot be read\n"
        return Response(body, media_type=CONTENT_TYPE_LATEST)

    return Starlette(routes=[Route("/healthz", healthz), Route("/readyz", readyz), Route("/metrics", metrics)])


class EmbeddedServer(uvicorn.Server):
    """Uvicorn beside a worker: signals are the worker's to handle."""

    def capture_signals(self) -> contextlib.AbstractContextManager[None]:  # pyright: ignore[reportIncompatibleMethodOverride]
        return contextlib.nullcontext()


def create_server(app: Starlette) -> EmbeddedServer:
    """Make the server; run it with ``await server.serve(sockets=[…])``, end it with ``server.should_exit = True``."""
    return EmbeddedServer(uvicorn.Config(app, log_config=None, lifespan="off", access_log=False))
